"""HTTP/1.1 and WebSocket for tests: it remembers what it was asked and by whom, and answers as it is told.

What to answer is in headers of the request: ``answer-status``, ``answer-bytes`` (the size of the body),
``answer-chunked`` and ``answer-close`` (any value). A WebSocket at any path gets back what it sends.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from kinety.kernel.namespace import Namespace
from tests.layer7.background import background
from tests.layer7.received import Received

#: What a request gets that asks for nothing else.
GREETING = b"welcome\n"
_CHUNK = 16 * 1024


@dataclass(slots=True)
class HttpServer:
    """A running server; make one with `http_server`."""

    #: Called with every request.
    remember: Callable[[Received], object]
    received: list[Received]
    #: Connections that were accepted, with or without a request.
    connections: int = 0

    def paths(self) -> list[str]:
        """Methods and paths of all that arrived."""
        return [f"{each.method} {each.path}" for each in list(self.received)]

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._remember(request)
        upgrade = request.headers.get("upgrade", "").lower() == "websocket"
        if upgrade and "answer-status" not in request.headers:
            return await self._echo(request)
        size = 0
        async for part in request.content.iter_any():
            size += len(part)
        wanted = request.headers.get("answer-bytes")
        body = GREETING if wanted is None else b"x" * int(wanted)
        headers = {"request-bytes": str(size)}
        status = int(request.headers.get("answer-status", 200))
        if "answer-chunked" not in request.headers:
            response = web.Response(status=status, body=body, headers=headers)
            if "answer-close" in request.headers:
                response.force_close()
            return response
        stream = web.StreamResponse(status=status, headers=headers)
        stream.enable_chunked_encoding()
        await stream.prepare(request)
        for at in range(0, len(body), _CHUNK):
            await stream.write(body[at : at + _CHUNK])
        await stream.write_eof()
        return stream

    def _remember(self, request: web.BaseRequest) -> None:
        client, port = request.get_extra_info("peername")[:2]
        version = f"{request.version.major}.{request.version.minor}"
        headers = {name.lower(): value for name, value in request.headers.items()}
        host = request.headers.get("host", "")
        size = request.content_length or 0
        self.remember(Received(version, request.method, request.raw_path, host, headers, client, port, size))

    async def _echo(self, request: web.BaseRequest) -> web.StreamResponse:
        stream = web.WebSocketResponse()
        await stream.prepare(request)
        async for message in stream:
            if message.type is WSMsgType.TEXT:
                await stream.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await stream.send_bytes(message.data)
        return stream


@contextmanager
def http_server(
    namespace: Namespace,
    port: int,
    host: str | None = None,
    remember: Callable[[Received], object] | None = None,
) -> Iterator[HttpServer]:
    """A server at a port of a namespace's addresses, or of one of them, while the block runs.

    ``remember`` gets what arrives in place of the list ``received``.
    """
    received: list[Received] = []
    server = HttpServer(remember or received.append, received)

    async def start(stack: AsyncExitStack) -> None:
        serving = web.Server(server._answer, access_log=None)
        stack.push_async_callback(serving.shutdown, 0.1)

        def accepted() -> asyncio.Protocol:
            server.connections += 1
            return serving()

        listening = await asyncio.get_running_loop().create_server(accepted, host, port)
        stack.callback(listening.close)

    with background(namespace, start):
        yield server
