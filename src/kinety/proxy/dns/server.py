"""The process: listeners as the agent wants them, from the file until it speaks."""

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from kinety.model.layer7 import Layer7Id
from kinety.proxy.dns.gate import Gate
from kinety.proxy.dns.listener import ServedListener
from kinety.proxy.dns.replies import Replies
from kinety.proxy.dns.service import Denied, Service, families
from kinety.proxy.dns.state import Listener, State

log = logging.getLogger(__name__)

_TICK = 1.0


class Server:
    """All listeners of a node."""

    def __init__(self, ports: range) -> None:
        """``ports``: the sources of what is sent to servers. Raises OSError without capabilities."""
        self._gate = Gate()
        replies = {family: Replies(family) for family in families()}
        self._service = Service(ports, replies, self._gate.admit, self._deny)
        self._listeners: dict[Layer7Id, ServedListener] = {}

    async def put(self, listeners: Mapping[Layer7Id, Listener]) -> None:
        """Serve these, too; in force when it returns. Raises OSError, and serves as before then."""
        opened: dict[Layer7Id, ServedListener] = {}
        try:
            for key, wanted in listeners.items():
                served = self._listeners.get(key)
                if served is None or served.port != wanted.port:
                    opened[key] = ServedListener(key, wanted.port, self._service)
                    await opened[key].start()
        except BaseException:
            for each in opened.values():
                each.close()
            raise
        self.remove(opened)
        self._listeners |= opened
        for key, wanted in listeners.items():
            self._listeners[key].change(wanted.patterns)

    def remove(self, keys: Collection[Layer7Id]) -> None:
        """Serve these no longer."""
        for key in keys:
            if (served := self._listeners.pop(key, None)) is not None:
                served.close()

    async def restore(self, state: State) -> None:
        """Serve exactly this. Raises OSError."""
        self.remove(self._listeners.keys() - state.listeners.keys())
        await self.put(state.listeners)

    async def run(self) -> None:
        """Give up, every second, what is too old."""
        while True:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            for each in self._listeners.values():
                each.expire(now)

    def close(self) -> None:
        """Stop serving."""
        self.remove([*self._listeners])
        for each in self._service.replies.values():
            each.close()

    def _deny(self, denied: Denied) -> None:
        log.info("denied: %s", denied)


async def run(directory: Path, ports: range) -> None:
    """Serve until cancelled. Raises OSError or ValueError when that cannot begin."""
    server = Server(ports)
    try:
        await server.restore(State.load(directory / "dns-state.json"))
        await server.run()
    finally:
        server.close()
