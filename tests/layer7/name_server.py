"""A name server for tests: one zone, over UDP and TCP, that can be slow, or answer what no server should."""

import asyncio
import socket
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset

from kinety.kernel.namespace import Namespace
from tests.layer7.background import background

PORT = 53
_PLAIN_UDP, _SOON = 512, 10.0
_LENGTH = 2


@dataclass(frozen=True, slots=True)
class Name:
    """What a server says of a name: its addresses, or another name that has them (CNAME).

    ``delay`` is in seconds. ``truncated`` says over UDP that TCP is needed. ``raw`` is sent, behind the
    question's number, in place of everything else.
    """

    addresses: tuple[str, ...] = ()
    alias: str | None = None
    lifetime: int = 60
    delay: float = 0.0
    truncated: bool = False
    raw: bytes | None = None


@dataclass(slots=True)
class NameServer:
    """A running server; make one with `name_server`. ``names`` are without the last dot, and may change."""

    names: dict[str, Name]
    #: Names that were asked for, and over what.
    asked: list[tuple[str, str]] = field(default_factory=list)
    #: The same with the type and the asker's address: ``("web.example.org", "AAAA", "UDP", "10.0.0.1")``.
    questions: list[tuple[str, str, str, str]] = field(default_factory=list)

    async def _answer(self, wire: bytes, how: str, asker: str) -> bytes:
        question = dns.message.from_wire(wire)
        (asked,) = question.question
        name = asked.name.to_text(omit_final_dot=True).lower()
        self.asked.append((name, how))
        self.questions.append((name, dns.rdatatype.to_text(asked.rdtype), how, asker))
        found = self.names.get(name)
        if found is not None and found.delay:
            await asyncio.sleep(found.delay)
        if found is not None and found.raw is not None:
            return wire[:_LENGTH] + found.raw
        answer = dns.message.make_response(question, recursion_available=True)
        if found is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif how == "UDP" and found.truncated:
            answer.flags |= dns.flags.TC
        else:
            answer.answer += self._records(asked.name, found, asked.rdtype)
        most = 65535 if how == "TCP" else max(_PLAIN_UDP, question.payload)
        return answer.to_wire(max_size=most, prefer_truncation=True)

    def _records(
        self, owner: dns.name.Name, found: Name, wanted: dns.rdatatype.RdataType
    ) -> Iterator[dns.rrset.RRset]:
        while found.alias is not None:
            yield dns.rrset.from_text(owner, found.lifetime, "IN", "CNAME", f"{found.alias}.")
            owner = dns.name.from_text(found.alias)
            found = self.names.get(found.alias.lower(), Name())
        version = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}.get(wanted)
        if addresses := [each for each in found.addresses if ip_address(each).version == version]:
            yield dns.rrset.from_text(owner, found.lifetime, "IN", wanted, *addresses)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asker = writer.get_extra_info("peername")[0]
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(_LENGTH), "big")
                answer = await self._answer(await reader.readexactly(length), "TCP", asker)
                writer.write(len(answer).to_bytes(_LENGTH, "big") + answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    """Questions over UDP, each answered when its time has come."""

    def __init__(self, server: NameServer) -> None:
        self._server = server
        self._open: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        task = asyncio.get_running_loop().create_task(self._reply(data, address))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _reply(self, data: bytes, address: tuple[str, int]) -> None:
        self._transport.sendto(await self._server._answer(data, "UDP", address[0]), address)


@contextmanager
def name_server(
    namespace: Namespace, address: str, names: Mapping[str, Name | tuple[str, ...]]
) -> Iterator[NameServer]:
    """A server on an address of a namespace while the block runs; of a name, addresses will do."""
    server = NameServer(
        {name: said if isinstance(said, Name) else Name(said) for name, said in names.items()}
    )

    async def start(stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        datagrams, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(server), (address, PORT), family=family
        )
        stack.callback(datagrams.close)
        listening = await asyncio.start_server(server._serve_tcp, address, PORT)
        stack.callback(listening.close)

    with background(namespace, start):
        yield server


def resolve(
    namespace: Namespace, address: str, name: str, kind: str = "A", how: str = "UDP", timeout: float = _SOON
) -> dns.message.Message:
    """Ask a server at an address from a namespace, once.

    Raises dns.exception.Timeout, and what dnspython raises of answers that are none.
    """
    question = dns.message.make_query(name, kind)
    ask = dns.query.udp if how == "UDP" else dns.query.tcp
    return namespace.call(ask, question, address, timeout)


def addresses_in(answer: dns.message.Message) -> list[str]:
    """The addresses of an answer, sorted."""
    wanted = (dns.rdatatype.A, dns.rdatatype.AAAA)
    return sorted(each.to_text() for rrset in answer.answer if rrset.rdtype in wanted for each in rrset)
