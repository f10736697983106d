"""Connections and listeners, as the kernel tells them; and whoever opened a connection."""

from __future__ import annotations

import socket
import sys
from ipaddress import ip_address

import pytest

from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.kernel.tcp import Connection, TcpSockets

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ESTABLISHED, TIME_WAIT, LISTEN = "01", "06", "0A"


def end(address: str, port: int) -> str:
    packed = ip_address(address).packed
    words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{port:04X}"


def row(local: str, remote: str, state: str) -> str:
    return f"   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000     0        0 1 1\n"


def packed(address: str) -> bytes:
    found = ip_address(address).packed
    return found if len(found) == 16 else bytes(10) + b"\xff\xff" + found


def test_who_opened_a_connection_is_known_by_where_somebody_listens() -> None:
    text = (
        HEADING
        + row(end("0.0.0.0", 22), end("0.0.0.0", 0), LISTEN)
        + row(end("192.0.2.1", 22), end("192.0.2.2", 40000), ESTABLISHED)
        + row(end("192.0.2.1", 40001), end("192.0.2.2", 443), ESTABLISHED)
        + row(end("192.0.2.1", 40002), end("192.0.2.2", 443), TIME_WAIT)
        + HEADING
        + row(end("2001:db8::1", 22), end("2001:db8::2", 40000), ESTABLISHED)
    )
    found = TcpSockets.parse(text)
    assert found.listening == {22}
    assert set(found.connections) == {
        Connection(packed("192.0.2.1"), 22, packed("192.0.2.2"), 40000, inbound=True),
        Connection(packed("192.0.2.1"), 40001, packed("192.0.2.2"), 443, inbound=False),
        Connection(packed("2001:db8::1"), 22, packed("2001:db8::2"), 40000, inbound=True),
    }


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_the_loopback_is_left_out(address: str) -> None:
    text = row(end(address, 80), end(address, 0), LISTEN) + row(
        end(address, 80), end(address, 9), ESTABLISHED
    )
    assert TcpSockets.parse(text) == TcpSockets((), frozenset())


@pytest.mark.needs("netns")
def test_the_kernel_tells_of_this_namespace(namespace: Namespace) -> None:
    with Netlink(namespace) as netlink, netlink.batch() as batch:
        batch.link_set(1, up=True)
        batch.address_add(1, ip_address("192.0.2.1"))
    with namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind(("192.0.2.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.connect(("192.0.2.1", port))
            other = client.getsockname()[1]
            found = namespace.call(TcpSockets.here)
    own = packed("192.0.2.1")
    assert found.listening == {port}
    assert set(found.connections) == {
        Connection(own, port, own, other, inbound=True),
        Connection(own, other, own, port, inbound=False),
    }
