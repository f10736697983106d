"""gRPC for tests: methods of any name, whose messages are bytes as they are."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase
from grpclib.server import Server, Stream

from kinety.kernel.namespace import Namespace
from tests.e2e.real_node import SOON
from tests.layer7.background import background


class Bytes(CodecBase):
    """Messages that need no encoding."""

    __content_subtype__ = "proto"  # that of replies which name none: a proxy's

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


@dataclass(slots=True)
class GrpcServer:
    """A running server; make one with `grpc_server`. ``called`` is (path, the client's address)."""

    methods: tuple[str, ...]
    called: list[tuple[str, str]] = field(default_factory=list)

    def __mapping__(self) -> Mapping[str, Handler]:
        return {path: self._handler(path) for path in self.methods}

    def _handler(self, path: str) -> Handler:
        async def echo(stream: Stream[bytes, bytes]) -> None:
            message = await stream.recv_message()
            assert message is not None
            assert stream.peer is not None
            client = stream.peer.addr()
            assert client is not None
            self.called.append((path, str(client[0])))
            await stream.send_message(message)

        return Handler(echo, Cardinality.UNARY_UNARY, bytes, bytes)


@contextmanager
def grpc_server(namespace: Namespace, port: int, *methods: str) -> Iterator[GrpcServer]:
    """A server of methods (``/package.Service/Method``), which send back what they get."""
    called = GrpcServer(methods)

    async def start(stack: AsyncExitStack) -> None:
        server = Server([called], codec=Bytes())
        await server.start(None, port)
        stack.push_async_callback(server.wait_closed)
        stack.callback(server.close)

    with background(namespace, start):
        yield called


async def _call(address: str, port: int, method: str, message: bytes) -> bytes:
    async with Channel(address, port, codec=Bytes()) as channel:
        answer = await UnaryUnaryMethod[bytes, bytes](channel, method, bytes, bytes)(message, timeout=SOON)
        assert answer is not None
        return answer


def call(namespace: Namespace, address: str, port: int, method: str, message: bytes = b"fire") -> bytes:
    """Call a method. Raises grpclib.GRPCError with the status of a refusal, OSError."""

    return namespace.call(asyncio.run, _call(address, port, method, message))
