"""A client, a node and a server in namespaces; what the client sends goes to listeners of the node.

::

    client ══ node (Envoy) ══ server

netfilter's TPROXY takes the place of the datapath: what Envoy gets, and how its packets travel, is the same.
"""

import asyncio
import concurrent.futures
import contextlib
import json
import os
import secrets
import socket
import subprocess
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from kinety.kernel.namespace import Namespace

T = TypeVar("T")

CLIENT = {4: "192.0.2.1", 6: "2001:db8:1::1"}
SERVER = {4: "198.51.100.1", 6: "2001:db8:2::1"}
#: Seconds for anything to be answered on a busy machine.
PATIENCE = 10.0

_NODE = """
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
sysctl -qw net.ipv4.ip_local_port_range='32768 65535' net.ipv6.conf.default.accept_dad=0
sysctl -qw net.ipv4.tcp_tw_reuse=1
for side in client server; do
    ip link add $side type veth peer name eth0 netns $PREFIX-$side
    ip link set $side up
done
ip address add 192.0.2.254/24 dev client
ip address add 2001:db8:1::254/64 dev client nodad
ip address add 198.51.100.254/24 dev server
ip address add 2001:db8:2::254/64 dev server nodad
for family in 4 6; do
    ip -$family rule add fwmark 0x200/0xf00 lookup 100
    ip -$family route add local default dev lo table 100
done
nft -f - <<.
table inet crossing {
    map listeners { type inet_service : inet_service; }
    chain before {
        type filter hook prerouting priority mangle
        iifname client tcp flags & (syn | ack) == syn jump divert
        meta l4proto tcp socket transparent 1 meta mark set 0x200 accept
    }
    chain divert {
        meta mark set 0x200
        meta nfproto ipv4 meta l4proto tcp tproxy ip to 127.0.0.1:tcp dport map @listeners accept
        meta nfproto ipv6 meta l4proto tcp tproxy ip6 to [::1]:tcp dport map @listeners accept
        meta mark set 0
    }
    set marks {
        type mark
        flags dynamic
    }
    chain out {
        type filter hook output priority 0
        meta mark != 0 add @marks { meta mark }
    }
}
.
"""
_SIDE = """
ip link set lo up
sysctl -qw net.ipv6.conf.eth0.accept_dad=0
ip link set eth0 up
ip address add $ADDRESS4/24 dev eth0
ip address add $ADDRESS6/64 dev eth0 nodad
ip route add default via $VIA4
ip -6 route add default via $VIA6
"""


class Crossing:
    """Three namespaces, and an event loop on a thread in the node's. Make one with `crossing`."""

    def __init__(self) -> None:
        self._namespaces: list[Namespace] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=lambda: self.node.call(self._loop.run_forever))

    def build(self) -> None:
        """Make the namespaces, connect them, and start the loop."""
        prefix = f"kt-{os.getpid()}-{secrets.token_hex(4)}"
        self.client, self.server, self.node = (
            self._namespace(f"{prefix}-{name}") for name in ("client", "server", "node")
        )
        _shell(self.node, _NODE, PREFIX=prefix)
        for side, own in ((self.client, CLIENT), (self.server, SERVER)):
            via = {family: f"{address[:-1]}254" for family, address in own.items()}
            _shell(side, _SIDE, ADDRESS4=own[4], ADDRESS6=own[6], VIA4=via[4], VIA6=via[6])
        self._thread.start()

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        """Do something on the node's event loop."""
        return self.start(what).result(60)

    def start(self, what: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Begin something there."""
        return asyncio.run_coroutine_threadsafe(what, self._loop)

    def redirect(self, ports: dict[int, int]) -> None:
        """What the client sends to these ports goes to listeners on those. In the place of others."""
        pairs = ", ".join(f"{port} : {listener}" for port, listener in ports.items())
        rules = f"flush map inet crossing listeners\nadd element inet crossing listeners {{ {pairs} }}"
        _shell(self.node, 'nft "$RULES"', RULES=rules)

    def marks(self) -> set[int]:
        """The marks of packets that the node itself has sent."""
        listed = json.loads(_shell(self.node, "nft -j list set inet crossing marks"))
        (found,) = (each["set"] for each in listed["nftables"] if "set" in each)
        return set(found.get("elem", ()))

    def connect(self, port: int, family: int = 4, *, source_port: int = 0) -> socket.socket:
        """A connection of the client's to the server, or to whoever answers for it."""
        connecting = self.client.socket(
            socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_STREAM
        )
        connecting.settimeout(PATIENCE)
        try:
            connecting.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            connecting.bind((CLIENT[family], source_port))
            connecting.connect((SERVER[family], port))
        except BaseException:
            connecting.close()
            raise
        return connecting

    def close(self) -> None:
        """Take everything down."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()
        for namespace in self._namespaces:
            namespace.remove()

    def _namespace(self, name: str) -> Namespace:
        made = Namespace.create(name)
        self._namespaces.append(made)
        return made


@contextlib.contextmanager
def crossing() -> Iterator[Crossing]:
    """A crossing, taken down when the block ends."""
    made = Crossing()
    try:
        made.build()
        yield made
    finally:
        made.close()


def _shell(namespace: Namespace, script: str, **environment: str) -> str:
    """What commands in a namespace print."""
    done = subprocess.run(
        ["nsenter", f"--net={namespace.name}", "sh", "-ec", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr}\n{script}"
    return done.stdout
