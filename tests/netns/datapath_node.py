"""A node in namespaces for the datapath's own tests: endpoints, the host, and an outside network."""

import contextlib
import os
import secrets
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kinety.datapath.cleanup import cleanup
from kinety.datapath.datapath import Datapath
from kinety.datapath.interface import Interface
from kinety.datapath.restoration import Restoration
from kinety.datapath.settings import Settings
from kinety.kernel import bpffs
from kinety.kernel.namespace import Namespace
from kinety.model.address import Prefix, pack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.identity import ClassId, Identity
from kinety.model.layer7 import Layer7Id
from kinety.model.rule import RuleId
from kinety.model.verdict import RuleSet, RuleSetKey, Verdict, VerdictKind
from kinety.plan.change import Capacity, Change, EndpointPlan, RuleSetId, Snapshot

T = TypeVar("T")

HOST = {4: "192.0.2.1", 6: "2001:db8:ff::1"}
OUTSIDE = {4: "192.0.2.2", 6: "2001:db8:ff::2"}
POOLS = (Prefix.parse("10.77.0.0/24"), Prefix.parse("fd77::/64"))
ALLOW = Verdict(VerdictKind.ALLOW, RuleId(7))
DENY = Verdict(VerdictKind.DENY, RuleId(9))
SMALL = Capacity(
    endpoints=64,
    rule_sets=64,
    rows=1024,
    identity_classes=1024,
    ipcache_hosts=1024,
    ipcache_prefixes=1024,
    rules=256,
)
#: Longer than any answer takes on a busy machine, shorter than TCP's second try.
ANSWER_SECONDS = 0.9
#: How long a denied packet is waited for.
SILENCE_SECONDS = 0.25


def wait_until(predicate: Callable[[], T], deadline: float = 5.0) -> T:
    """Ask until the answer is true; fail after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    while not (answer := predicate()):
        assert time.monotonic() < end, f"not so within {deadline} s: {predicate}"
        time.sleep(0.005)
    return answer


def table(rows: Mapping[tuple[int, int, int, int], Verdict]) -> RuleSet:
    """A rule set from (class, bits, protocol, port) rows."""
    return RuleSet(
        {RuleSetKey(ClassId(c), bits, protocol, port): v for (c, bits, protocol, port), v in rows.items()}
    )


def tcp(class_id: int, port: int, verdict: Verdict = ALLOW) -> RuleSet:
    """Allow one TCP port to one class; everything else by default."""
    return table({(class_id, 0, 0, 0): DENY, (class_id, 24, socket.IPPROTO_TCP, port): verdict})


@dataclass
class Node:
    """A node's namespace, one outside it, and endpoints by name. Use ``node()``."""

    settings: Settings
    namespace: Namespace
    outside: Namespace
    directory: Path
    endpoints: dict[str, Namespace] = field(default_factory=dict)
    datapath: Datapath | None = None
    restoration: Restoration | None = None
    #: Of listeners, by what they let pass.
    ports: dict[Layer7Id, int] = field(default_factory=dict)

    def run(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Call a function in the node's network namespace, as the agent would."""
        return self.namespace.call(lambda: function(*arguments, **named))

    def open(self, snapshot: Snapshot | None = None, known: Iterable[int] = ()) -> Datapath:
        """Start a datapath, as an agent does."""
        self.datapath = self.run(Datapath.open, self.settings)
        self.restoration = self.run(
            self.datapath.restore,
            snapshot or Snapshot({}, {}, {}, {}, {}),
            frozenset(map(EndpointId, known)),
            self.ports,
        )
        return self.datapath

    def forget(self) -> None:
        """Drop every Python object of the datapath, as a kill does; the kernel keeps what it has."""
        if self.datapath is not None:
            self.datapath.close()
            self.datapath = None

    def restart_with_plans(
        self, plans: Mapping[int, EndpointPlan], classes: Mapping[Identity, ClassId]
    ) -> Datapath:
        """Kill, and start again with a plan that has no tables."""
        self.forget()
        endpoints = {EndpointId(number): each for number, each in plans.items()}
        return self.open(Snapshot({}, {}, classes, {}, endpoints), endpoints)

    def attach(self, name: str, number: int) -> Interface:
        """Attach a fresh namespace as endpoint ``number``: 10.77.0.NUMBER and fd77::NUMBER."""
        assert self.datapath is not None
        return self.run(self.datapath.attach, endpoint(name, number), self.namespace_for(name))

    def namespace_for(self, name: str) -> Namespace:
        """The namespace of an endpoint, made when it is not there."""
        if name not in self.endpoints:
            self.endpoints[name] = Namespace.create(f"kt-{os.getpid()}-{secrets.token_hex(4)}-{name}")
        return self.endpoints[name]

    def apply(self, change: Change) -> None:
        """Apply a change in the node."""
        assert self.datapath is not None
        self.run(self.datapath.apply, change, self.ports)

    def put(self, plans: Mapping[int, EndpointPlan], **rest: Any) -> None:
        """Apply a change of endpoint plans by endpoint number."""
        self.apply(Change(endpoints={EndpointId(n): plan for n, plan in plans.items()}, **rest))

    def command(self, *words: str) -> str:
        """Run a program in the node's namespace."""
        return self.run(lambda: subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def endpoint(name: str, number: int) -> Endpoint:
    """Endpoint ``number`` of namespace default."""
    return Endpoint(
        EndpointId(number),
        "default",
        name,
        frozenset(),
        pack_address(address(number, 4)),
        pack_address(address(number, 6)),
    )


def address(number: int, family: int) -> str:
    """Address of endpoint ``number``."""
    return f"10.77.0.{number}" if family == 4 else f"fd77::{number:x}"


def plan(
    identity: int, egress: str | None = None, ingress: str | None = None, ipv6: int | None = None
) -> EndpointPlan:
    """An endpoint's plan by names of rule sets. ``ipv6`` is who it is over IPv6, if another."""
    return EndpointPlan(
        Identity(identity),
        None if egress is None else RuleSetId(egress),
        None if ingress is None else RuleSetId(ingress),
        Identity(identity),
        Identity(ipv6 or identity),
    )


def rule_sets(**tables: RuleSet) -> dict[RuleSetId, RuleSet]:
    """Rule sets by name."""
    return {RuleSetId(name): content for name, content in tables.items()}


@contextlib.contextmanager
def node(**settings: Any) -> Iterator[Node]:
    """A node that is removed again, whatever happened."""
    name = f"kt-{os.getpid()}-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="kinety-") as directory, contextlib.ExitStack() as stack:
        pins = Path(directory) / "bpf"
        built = Node(
            settings=Settings(
                pins=pins, **{"capacity": SMALL, "pools": POOLS, "spare_rule_sets": 8} | settings
            ),
            namespace=stack.enter_context(_namespace(f"{name}-node")),
            outside=stack.enter_context(_namespace(f"{name}-out")),
            directory=Path(directory),
        )
        _wire_outside(built)
        try:
            yield built
        finally:
            built.forget()
            built.run(cleanup, built.settings)
            for each in built.endpoints.values():
                each.remove()
            if pins.is_dir() and bpffs.mounted(pins):
                bpffs.unmount(pins)


@contextlib.contextmanager
def _namespace(name: str) -> Iterator[Namespace]:
    made = Namespace.create(name)
    try:
        yield made
    finally:
        made.remove()


def _wire_outside(built: Node) -> None:
    """An ordinary network beside the node, which knows nothing of endpoints."""

    def ip(namespace: Namespace, *words: str) -> None:
        namespace.call(lambda: subprocess.run(["ip", *words], check=True, capture_output=True))

    node_end, outside = built.namespace, built.outside
    ip(node_end, "link", "set", "lo", "up")
    ip(outside, "link", "set", "lo", "up")
    # Ends with one and the same index would learn of their carrier a second late (linkwatch_urgent_event).
    pair = ("type", "veth", "peer", "name", "uplink", "netns", outside.name)
    ip(node_end, "link", "add", "uplink", "index", "100", *pair)
    for namespace, addresses in ((node_end, HOST), (outside, OUTSIDE)):
        ip(namespace, "address", "add", f"{addresses[4]}/24", "dev", "uplink")
        ip(namespace, "address", "add", f"{addresses[6]}/64", "dev", "uplink", "nodad")
        ip(namespace, "link", "set", "uplink", "up")


def connect(source: Namespace, target: str, port: int, seconds: float = ANSWER_SECONDS) -> bool:
    """Whether a TCP connection comes about, at the first try."""
    with socket_to(source, target, socket.SOCK_STREAM) as client:
        client.settimeout(seconds)
        try:
            client.connect((target, port))
        except (TimeoutError, ConnectionRefusedError, OSError):
            return False
        return True


def refused(source: Namespace, target: str, port: int) -> bool:
    """Whether nothing answers a TCP connection's first packet."""
    return not connect(source, target, port, SILENCE_SECONDS)


def socket_to(source: Namespace, target: str, kind: int) -> socket.socket:
    """A socket of the target's family in a namespace."""
    return source.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, kind, 0)


@contextlib.contextmanager
def listening(namespace: Namespace, where: str, port: int) -> Iterator[socket.socket]:
    """A TCP listener; connections are accepted by the kernel."""
    with socket_to(namespace, where, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((where, port))
        server.listen(64)
        yield server


class Flow:
    """A TCP connection from an endpoint, and whether its bytes still arrive."""

    def __init__(self, node: Node, source: str, where: str, port: int, server: socket.socket) -> None:
        self._client = socket_to(node.endpoints[source], where, socket.SOCK_STREAM)
        self._client.settimeout(ANSWER_SECONDS)
        self._client.connect((where, port))
        server.settimeout(ANSWER_SECONDS)
        self._server, _ = server.accept()
        self._server.setblocking(False)

    def stalls(self) -> bool:
        """Send a byte and see that it does not arrive."""
        return not self.carries(SILENCE_SECONDS)

    def carries(self, seconds: float = ANSWER_SECONDS) -> bool:
        """Send a byte and see whether it arrives in time."""
        self._client.send(b"x")
        self._server.settimeout(seconds)
        try:
            return bool(self._server.recv(1))
        except TimeoutError:
            return False

    def arrived(self) -> bool:
        """Whether what was sent before has arrived by now."""
        return self.received() > 0

    def received(self) -> int:
        """Bytes that are there."""
        self._server.setblocking(False)
        try:
            return len(self._server.recv(1 << 16))
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """End both ends."""
        self._client.close()
        self._server.close()


def unanswered(source: Namespace, target: str) -> bool:
    """Whether an ICMP echo request gets no answer."""
    return not echo(source, target, SILENCE_SECONDS)


def echo(source: Namespace, target: str, seconds: float = ANSWER_SECONDS) -> bool:
    """Whether an ICMP echo request is answered."""
    ipv6 = ":" in target
    protocol = socket.IPPROTO_ICMPV6 if ipv6 else socket.IPPROTO_ICMP
    request, reply = (128, 129) if ipv6 else (8, 0)
    identifier = secrets.randbelow(1 << 16)
    message = struct.pack("!BBHHH", request, 0, 0, identifier, 1)
    message = struct.pack("!BBHHH", request, 0, _checksum(message), identifier, 1)
    with source.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_RAW, protocol) as raw:
        raw.sendto(message, (target, 0))
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            raw.settimeout(left)
            try:
                packet, sender = raw.recvfrom(2048)
            except TimeoutError:
                return False
            body = packet if ipv6 else packet[(packet[0] & 15) * 4 :]
            if sender[0] == target and body[0] == reply and body[4:6] == identifier.to_bytes(2, "big"):
                return True
    return False


def _checksum(message: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
