"""ICMP errors about what a proxy sends and answers: the node hears them, and not the client or the server."""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinety.abi import Reason
from kinety.kernel.namespace import Namespace
from kinety.testing.checksum import internet_checksum
from tests.netns.datapath_node import OUTSIDE, Node, address, plan, wait_until
from tests.netns.redirect_lab import (
    ALLIANCE,
    CLIENT,
    EMPIRE,
    NEEDS,
    PORT,
    SERVER,
    Proxies,
    both_proxies,
    counted,
    families,
    reach_endpoints,
    redirect_lab,
    talking,
)

pytestmark = pytest.mark.needs(*NEEDS)

MTU = 1400
#: Where a namespace counts those that came to it, and by which name.
COUNTERS = {
    4: (Path("/proc/thread-self/net/snmp"), "InDestUnreachs"),
    6: (Path("/proc/thread-self/net/snmp6"), "Icmp6InPktTooBigs"),
}


@pytest.fixture
def lab() -> Iterator[Node]:
    """Addresses stay as they are on the way out, so that errors can quote them."""
    with redirect_lab(masquerade=False) as built:
        reach_endpoints(built)
        yield built


@pytest.fixture
def proxies(lab: Node) -> Iterator[Proxies]:
    with both_proxies(lab) as made:
        yield made


def heard(namespace: Namespace, family: int) -> int:
    """How many errors have come to a namespace."""
    path, name = COUNTERS[family]
    text = namespace.call(path.read_text)
    if family == 6:
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith(name)))
    names, values = (line.split() for line in text.splitlines() if line.startswith("Icmp:"))
    return int(values[names.index(name)])


def tell(namespace: Namespace, source: str, port: int, target: str, target_port: int) -> None:
    """Tell a sender that a TCP segment of its was too big, in the name of whoever is in the namespace."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, target)
    segment = struct.pack("!HHI", port, target_port, 1)
    if family == socket.AF_INET6:
        quoted = struct.pack("!IHBB", 6 << 28, 1400, socket.IPPROTO_TCP, 60) + ends + segment
        message = struct.pack("!BBHI", 2, 0, 0, MTU) + quoted
        protocol = socket.IPPROTO_ICMPV6
    else:
        quoted = (
            struct.pack("!BBHHHBBH", 0x45, 0, 1500, 0, 0x4000, 60, socket.IPPROTO_TCP, 0) + ends + segment
        )
        message = struct.pack("!BBHHH", 3, 4, 0, 0, MTU) + quoted
        message = message[:2] + struct.pack("!H", internet_checksum(message)) + message[4:]
        protocol = socket.IPPROTO_ICMP
    with namespace.socket(family, socket.SOCK_RAW, protocol) as raw:
        raw.sendto(message, (source, 0))


def is_heard_by_the_node_alone(lab: Node, family: int, send: Namespace, *quoted: str | int) -> bool:
    """Whether an error about a segment reaches the node's own stack, and no endpoint."""
    before = {name: heard(each, family) for name, each in lab.endpoints.items()}
    node_before, led_before = heard(lab.namespace, family), counted(lab, Reason.FORWARDED_PROXY)
    source, port, target, target_port = quoted
    tell(send, str(source), int(port), str(target), int(target_port))
    wait_until(lambda: heard(lab.namespace, family) == node_before + 1)
    assert counted(lab, Reason.FORWARDED_PROXY) > led_before
    return before == {name: heard(each, family) for name, each in lab.endpoints.items()}


@families
def test_about_what_a_proxy_sends_to_the_outside(lab: Node, proxies: Proxies, family: int) -> None:
    lab.put({CLIENT: plan(ALLIANCE, egress="egress")})
    with talking(lab.endpoints["client"], lab.outside, OUTSIDE[family]) as talk:
        assert talk.works()
        assert is_heard_by_the_node_alone(lab, family, lab.outside, *talk.seen, OUTSIDE[family], PORT)
        assert talk.works()


@families
def test_about_what_a_proxy_sends_to_an_endpoint(lab: Node, proxies: Proxies, family: int) -> None:
    lab.put({SERVER: plan(EMPIRE, ingress="ingress")})
    where = address(SERVER, family)
    with talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
        assert talk.works()
        assert is_heard_by_the_node_alone(lab, family, lab.endpoints["server"], *talk.seen, where, PORT)
        assert talk.works()


@families
@pytest.mark.parametrize("far", [False, True], ids=["endpoint", "outside"])
def test_about_what_a_proxy_answers(lab: Node, proxies: Proxies, family: int, far: bool) -> None:
    """Its client tells, or a router on the way there."""
    lab.put({SERVER: plan(EMPIRE, ingress="ingress")})
    where = address(SERVER, family)
    client = lab.outside if far else lab.endpoints["client"]
    with talking(client, lab.endpoints["server"], where) as talk:
        assert talk.works()
        asking = talk.client.getsockname()[:2]
        assert is_heard_by_the_node_alone(lab, family, client, where, PORT, *asking)
        assert talk.works()
