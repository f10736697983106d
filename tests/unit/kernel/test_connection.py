"""Connections that the kernel keeps, in a namespace of the test's own."""

import os
import secrets
import socket
import subprocess
from collections.abc import Iterator

import pytest

from kinety.kernel.connection import connections_to, forget
from kinety.kernel.namespace import Namespace

pytestmark = pytest.mark.needs("root", "netns", "nft")

PORT, TRANSLATED, OTHER = 77, 78, 79
RULES = f"""
table inet test {{
    chain output {{
        type nat hook output priority -100;
        udp dport {PORT} dnat ip to 127.0.0.1:{TRANSLATED}
        udp dport {PORT} dnat ip6 to [::1]:{TRANSLATED}
    }}
}}
"""
LOOPBACK = {socket.AF_INET: "127.0.0.9", socket.AF_INET6: "::1"}
families = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A namespace that leads one port to another."""
    made = Namespace.create(f"kt-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        made.call(lambda: subprocess.run(["ip", "link", "set", "lo", "up"], check=True))
        made.call(lambda: subprocess.run(["nft", "-f", "-"], input=RULES, text=True, check=True))
        yield made
    finally:
        made.remove()


def send(namespace: Namespace, family: int, *ports: int) -> None:
    with namespace.socket(family, socket.SOCK_DGRAM) as sender:
        for port in ports:
            sender.sendto(b"x", (LOOPBACK[socket.AddressFamily(family)], port))


@families
def test_they_are_found_by_port_and_forgotten(namespace: Namespace, family: int) -> None:
    send(namespace, family, PORT, OTHER)
    [found] = namespace.call(connections_to, family, socket.IPPROTO_UDP, frozenset({PORT}))
    assert (str(found.destination), found.port) == (LOOPBACK[socket.AddressFamily(family)], PORT)
    assert found.answerer.is_loopback
    assert found.family == family
    assert namespace.call(forget, [found]) == 1
    assert namespace.call(forget, [found]) == 0, "it is gone"
    assert not namespace.call(connections_to, family, socket.IPPROTO_UDP, frozenset({PORT}))
    assert len(namespace.call(connections_to, family, socket.IPPROTO_UDP, frozenset({OTHER}))) == 1


@families
def test_several_ports_are_asked_for_at_once(namespace: Namespace, family: int) -> None:
    send(namespace, family, PORT, OTHER, 80)
    both = namespace.call(connections_to, family, socket.IPPROTO_UDP, frozenset({PORT, OTHER}))
    assert {each.port for each in both} == {PORT, OTHER}
    assert not namespace.call(connections_to, family, socket.IPPROTO_TCP, frozenset({PORT, OTHER}))
