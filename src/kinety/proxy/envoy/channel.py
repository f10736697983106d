"""The agent's socket, which Envoy speaks gRPC to."""

import os
import socket
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from grpclib.protocol import H2Protocol
from grpclib.server import Server


@asynccontextmanager
async def channel(path: Path, user: int, services: Collection[Any]) -> AsyncIterator[None]:
    """Serve gRPC on a unix socket that only ``user``, and root, can connect to. Raises OSError."""
    server = _Server(services)
    await server.start(sock=_listening(path, user))
    try:
        yield
    finally:
        server.close()
        server.hang_up()
        await server.wait_closed()


class _Server(Server):
    """A server that, closed, leaves no connection open: its clients would go on speaking to it."""

    def __init__(self, services: Collection[Any]) -> None:
        super().__init__(services)
        self._protocols: set[H2Protocol] = set()

    def _protocol_factory(self) -> H2Protocol:
        self._protocols = {each for each in self._protocols if not each.connection.is_closing()}
        made = super()._protocol_factory()
        self._protocols.add(made)
        return made

    def hang_up(self) -> None:
        for each in self._protocols:
            each.connection.close()


def _listening(path: Path, user: int) -> socket.socket:
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(new))
        new.chmod(0o600)
        os.chown(new, user, user)
        listening.listen()
        new.replace(path)
    except BaseException:
        listening.close()
        raise
    return listening
