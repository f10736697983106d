"""The TCP side of a listener: connections of clients, so many and no more."""

import asyncio
import socket
from collections import Counter
from functools import partial

from kinety.proxy.dns.conversation import Conversation, connect
from kinety.proxy.dns.service import Desk, Service
from kinety.proxy.dns.transparent import LOOPBACK, Place, asked, stream_listener
from kinety.proxy.mark import upstream_mark

#: Connections in all, and of one client.
_MOST_CONNECTIONS, _MOST_OF_CLIENT = 512, 64


class Streams:
    """One address family of a listener."""

    def __init__(self, family: int, port: int, desk: Desk, service: Service) -> None:
        """Raises OSError when the port is taken, or a capability is missing."""
        self._family, self._desk, self._service = family, desk, service
        self._mark = upstream_mark(port)
        self._own = Place(LOOPBACK[socket.AddressFamily(family)], port)
        self._socket = stream_listener(family, port)
        self._server: asyncio.Server | None = None
        self._of_client: Counter[str] = Counter()
        self._running: set[Conversation] = set()

    async def start(self) -> None:
        """Accept connections from now on."""
        self._server = await asyncio.start_server(self._accept, sock=self._socket)

    def close(self) -> None:
        """Stop listening, and end all connections."""
        if self._server is not None:
            self._server.close()
        self._socket.close()
        for each in self._running:
            each.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Place(*writer.get_extra_info("peername")[:2])
        server = asked(writer.get_extra_info("socket"))
        open_ = partial(connect, self._family, client, server, self._mark, self._service.ports)
        conversation = Conversation(self._desk, self._service, client, server, open_, writer)
        self._of_client[client.host] += 1
        self._running.add(conversation)
        try:
            if self._welcome(client, server):
                await conversation.run(reader)
        finally:
            self._running.discard(conversation)
            self._of_client -= Counter((client.host,))
            writer.close()

    def _welcome(self, client: Place, server: Place) -> bool:
        if server == self._own:  # the listener itself was connected to: nobody is to be asked
            return False
        return len(self._running) <= _MOST_CONNECTIONS and self._of_client[client.host] <= _MOST_OF_CLIENT
