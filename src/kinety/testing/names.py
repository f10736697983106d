"""DNS in live scenarios: a server that knows their names, and one question to it. Needs dnspython."""

import socket
from collections.abc import Iterable, Mapping

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset

from kinety.model.address import IPAddress
from kinety.testing.content import DnsQuestion
from kinety.testing.outcome import ALLOW, DENY

_LIFETIME = 60
_VERSIONS = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}


class Zone:
    """The addresses of names, and of any other name none."""

    def __init__(self, names: Mapping[IPAddress, Iterable[str]]) -> None:
        self._addresses: dict[str, list[IPAddress]] = {}
        for address, known in names.items():
            for name in known:
                self._addresses.setdefault(name, []).append(address)

    def answer(self, data: bytes) -> bytes | None:
        """The answer to a question; None when it is none."""
        try:
            question = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return None
        if question.flags & dns.flags.QR or len(question.question) != 1:
            return None
        (asked,) = question.question
        known = self._addresses.get(asked.name.to_text(omit_final_dot=True).lower(), [])
        found = [str(each) for each in known if each.version == _VERSIONS.get(asked.rdtype)]
        answer = dns.message.make_response(question, recursion_available=True)
        if found:
            answer.answer.append(dns.rrset.from_text(asked.name, _LIFETIME, "IN", asked.rdtype, *found))
        return answer.to_wire()


def ask(client: socket.socket, content: DnsQuestion, address: IPAddress, port: int, seconds: float) -> str:
    """Ask over a connected socket, and what came of it: an outcome. Raises OSError."""
    question = dns.message.make_query(content.name, "A" if address.version == 4 else "AAAA")
    try:
        if client.type == socket.SOCK_DGRAM:
            client.send(question.to_wire())
            answer = dns.message.from_wire(client.recv(65535))
        else:
            client.setblocking(False)
            answer = dns.query.tcp(question, str(address), seconds, port, sock=client)
    except dns.exception.DNSException:
        return DENY
    if not question.is_response(answer):
        return DENY
    return content.REFUSAL if answer.rcode() == dns.rcode.REFUSED else ALLOW
