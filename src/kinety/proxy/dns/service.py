"""What all listeners of the process share."""

import socket
from collections.abc import Callable
from dataclasses import dataclass

import dns.rdatatype

from kinety.model.layer7 import Layer7Id
from kinety.proxy.dns.counters import Counters
from kinety.proxy.dns.question import Question, Why
from kinety.proxy.dns.replies import Replies
from kinety.proxy.dns.rules import Rules
from kinety.proxy.dns.transparent import Place
from kinety.proxy.dns.upstream import Admit


@dataclass(frozen=True, slots=True)
class Denied:
    """A question that was refused, or whose answer was: whose, to whom, and why.

    ``name`` and ``kind`` (the record type's number) are "" and 0 where the message could not be read.
    """

    listener: Layer7Id
    client: Place
    server: Place
    protocol: int
    name: str
    kind: int
    why: Why

    @property
    def type_text(self) -> str:
        """The record type as people write it, such as AAAA."""
        return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(self.kind)) if self.kind else ""


@dataclass(frozen=True, slots=True)
class Service:
    """Source ports for servers, ways to clients by family, who admits answers, who is told of denials."""

    ports: range
    replies: dict[int, Replies]
    admit: Admit
    deny: Callable[[Denied], None]


class Desk:
    """What the sockets of one listener share. ``rules`` may be exchanged at any time."""

    def __init__(self, listener: Layer7Id, rules: Rules, service: Service) -> None:
        self._listener = listener
        self._service = service
        self.rules = rules
        self.counters = Counters()

    def deny(self, question: Question | None, why: Why, client: Place, server: Place, protocol: int) -> None:
        """Count and tell that a question was refused, or its answer; None for one that could not be read."""
        self.counters.denied += 1
        name, kind = (question.name, question.kind) if question else ("", 0)
        self._service.deny(Denied(self._listener, client, server, protocol, name, kind, why))


def families() -> tuple[int, ...]:
    """The address families of this machine."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError:
        return (socket.AF_INET,)
    return socket.AF_INET, socket.AF_INET6
