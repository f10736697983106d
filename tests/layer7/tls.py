"""TLS with a server's name for tests: what the server was called, and how a handshake ended."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import trustme

from kinety.kernel.namespace import Namespace
from tests.e2e.real_node import SOON, connect
from tests.layer7.background import background

_PART = 4096


class Ending(StrEnum):
    """How a connection ended, from the client's side."""

    SPOKE = "spoke"
    RESET = "reset"
    CLOSED = "closed"
    SILENT = "silent"


@dataclass(slots=True)
class TlsServer:
    """A running server that sends back what it gets; make one with `tls_server`."""

    authority: trustme.CA
    #: Names that clients gave, None where they gave none; of failed handshakes, too.
    names: list[str | None] = field(default_factory=list)
    #: Addresses of clients that got through the handshake.
    clients: list[str] = field(default_factory=list)

    def context_of_client(self) -> ssl.SSLContext:
        """Trusts this server's certificates."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def _context(self, names: tuple[str, ...]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names).configure_cert(context)

        def called(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
            self.names.append(name)

        context.sni_callback = called  # type: ignore[assignment]
        return context

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.append(writer.get_extra_info("peername")[0])
        try:
            while data := await reader.read(_PART):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


@contextmanager
def tls_server(namespace: Namespace, port: int, *names: str) -> Iterator[TlsServer]:
    """A server with a certificate for these names, at a port of a namespace's addresses."""
    server = TlsServer(trustme.CA())

    async def start(stack: AsyncExitStack) -> None:
        context = server._context(names)
        listening = await asyncio.start_server(server._serve, None, port, ssl=context)
        stack.callback(listening.close)

    with background(namespace, start):
        yield server


def handshake(
    namespace: Namespace, address: str, port: int, name: str | None, context: ssl.SSLContext
) -> Ending:
    """Connect, give a server's name, and exchange a few bytes. The connection itself must come up.

    Raises ssl.SSLError where the server answered and the handshake failed, OSError.
    """
    with connect(namespace, address, port) as stream:
        stream.settimeout(SOON)
        context.check_hostname = name is not None
        try:
            with context.wrap_socket(stream, server_hostname=name) as secret:
                secret.sendall(b"psst")
                return Ending.SPOKE if secret.recv(_PART) == b"psst" else Ending.CLOSED
        except ConnectionResetError:
            return Ending.RESET
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, BrokenPipeError):
            return Ending.CLOSED
        except TimeoutError:
            return Ending.SILENT
