"""An agent's API without an agent: the real server on a real socket over a node made of values."""

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from kinety.api import address, insight, naming, overview, proxy, reload, shadow, types
from kinety.api.errors import ApiError, refuse
from kinety.api.server import application

ENDPOINT = types.Endpoint(
    id=1,
    namespace="default",
    name="deathstar",
    labels=("k8s:org=empire",),
    identity=256,
    ipv4="10.0.0.1",
    ipv6=None,
    egress=types.DirectionState(False),
    ingress=types.DirectionState(True, "abc"),
    netns="/run/netns/deathstar",
    interface="eth0",
)


POLICIES = (
    types.Policy("CiliumClusterwideNetworkPolicy", "", "everywhere", "all.yaml", 2, 4),
    types.Policy("CiliumNetworkPolicy", "default", "rule1", "policy.yaml", 12, 1),
    types.Policy("CiliumNetworkPolicy", "prod", "rule1", "prod.yaml", 7, 2),
    types.Policy("NetworkPolicy", "prod", "rule1", "prod.yaml", 30, 1),
)
IDENTITIES = (
    types.Identity(1, ("reserved:host",), 1, 0),
    types.Identity(256, ("k8s:io.kubernetes.pod.namespace=default", "k8s:org=empire"), 2, 3),
)
ADDRESSES = (
    address.Address("10.0.0.1", "in-use", "default/deathstar", 0.0, "10.0.0.0/29"),
    address.Address("10.0.0.2", "quarantine", "default/xwing", 86400.0, "10.0.0.0/29", 11.2),
    address.Address("192.0.2.7", "in-use", "default/fixed", 0.0, None),
)
NAMES = naming.Names(
    (
        naming.NameMapping("a.example.com", "192.0.2.7", 12.34, False, ("*.example.com", "a.*"), 16777217),
        naming.NameMapping("b.example.com", "2001:db8::7", 0.0, True, (), 10),
    ),
    known=3,
    held=1,
    evicted=4,
    refused=5,
    crowded=6,
    mappings_at_most=100,
    addresses_at_most=1000,
    seconds_at_least=60.0,
)
MAPS = (types.MapSummary("endpoints", 7, "array", 4096, 397312),)
STATUS = overview.Status(
    version="0.1.0",
    pid=42,
    started=0.0,
    state_dir="/state",
    reconciliation=overview.Reconciliation("in-sync"),
    endpoints=2,
    policies=1,
    rules=1,
    identities=12,
    pools=(overview.Pool("10.0.0.0/29", 2, 6), overview.Pool("fd00::/125", 1, 7)),
    subscribers=0,
    memory=64 * 1024 * 1024,
    datapath=overview.DatapathStatus(
        adopted=True,
        load_seconds=0.0123,
        contract="0x1",
        version="0123456789abcdef",
        configuration=overview.Configuration(
            ipv4=True, ipv6=True, events="flows", shadow=True, fragments=True, hooks=True
        ),
        programs=(overview.Program("from_endpoint", 5, "abcd", 3014, 14025, 12501),),
        maps=MAPS,
        endpoints=2,
        endpoints_ready=1,
        endpoints_promoted=1,
        tcx=True,
        rule_sets=3,
        rule_sets_spare=8,
        events_lost=0,
        writes=99,
    ),
    runtimes=(
        overview.Runtime("containerd", "/run/c.sock", None),
        overview.Runtime("podman", "/run/p.sock", "nobody there"),
    ),
    counters=(overview.Counter("policy-denied", "Denied by policy", "ingress", 7, 420),),
    proxies=(
        overview.ProxyState("envoy", False, 0, "no policy needs it"),
        overview.ProxyState("dns", True, 2, None),
    ),
    names=overview.NameCounts(known=3, room=100, held=1, evicted=4, refused=5, crowded=6),
)


class StoredEvents:
    """A subscription that gives what it was made with, and ends."""

    def __init__(self, events: list[types.Event]) -> None:
        self._batches = [events, []]
        self.closed = threading.Event()

    async def read(self) -> list[types.Event]:
        return self._batches.pop(0)

    def close(self) -> None:
        self.closed.set()


class ValueNode:
    """Answers from attributes; records what it was asked."""

    def __init__(self) -> None:
        self.stored = {("default", "deathstar"): ENDPOINT}
        self.asked: list[object] = []
        self.failure: Exception | None = None
        self.state = STATUS
        self.rows: tuple[Mapping[str, object], ...] | None = None
        self.explained: insight.Explanation | None = None
        self.result: types.PolicyResult | None = None
        self.reloaded: reload.ReloadResult | ApiError | None = None
        self.proxying = proxy.Proxies("sk_assign", (), ())
        self.report = shadow.ShadowReport((), (), (), 0)
        self.subscription = StoredEvents([types.Event(1.5, "drop"), types.Event(2.5, "new-flow", length=60)])

    async def proxies(self) -> proxy.Proxies:
        return self.proxying

    async def endpoints(self) -> tuple[types.Endpoint, ...]:
        if self.failure:
            raise self.failure
        return tuple(self.stored.values())

    async def endpoint(self, namespace: str, name: str) -> types.Endpoint:
        if (namespace, name) not in self.stored:
            raise refuse(404, f"there is no endpoint {namespace}/{name}")
        return self.stored[namespace, name]

    async def attachments(self, network: str | None) -> tuple[types.Endpoint, ...]:
        own = [each for each in self.stored.values() if each.attachment is not None]
        return tuple(each for each in own if each.attachment and network in (None, each.attachment.network))

    async def attachment(self, container: str, interface: str) -> types.AttachmentState:
        return types.AttachmentState(self._attached(container, interface), ("eth0 is down",), ("::/0",))

    async def detach_attachment(self, container: str, interface: str) -> None:
        endpoint = self._attached(container, interface)
        del self.stored[endpoint.namespace, endpoint.name]

    def _attached(self, container: str, interface: str) -> types.Endpoint:
        for each in self.stored.values():
            if each.attachment and (each.attachment.container, each.interface) == (container, interface):
                return each
        raise refuse(404, f"container {container} has no interface {interface}")

    async def attach(self, request: types.EndpointRequest) -> types.Endpoint:
        self.asked.append(request)
        return ENDPOINT

    async def detach(self, namespace: str, name: str) -> None:
        await self.endpoint(namespace, name)
        del self.stored[namespace, name]

    async def status(self) -> overview.Status:
        return self.state

    async def policies(self) -> tuple[types.Policy, ...]:
        return POLICIES

    async def addresses(self) -> tuple[address.Address, ...]:
        return ADDRESSES

    async def names(self, match: str | None) -> naming.Names:
        self.asked.append(match)
        return NAMES

    async def learn_name(self, name: str, told: naming.NameAnswer) -> naming.Names:
        self.asked.append((name, told))
        return NAMES

    async def forget_name(self, name: str) -> naming.NamesForgotten:
        self.asked.append(name)
        return naming.NamesForgotten(1)

    async def forget_names(self) -> naming.NamesForgotten:
        self.asked.append("all")
        return naming.NamesForgotten(3)

    async def identities(self) -> tuple[types.Identity, ...]:
        return IDENTITIES

    async def maps(self) -> tuple[types.MapSummary, ...]:
        return MAPS

    async def delete_policy(self, kind: str, namespace: str, name: str) -> types.PolicyResult:
        self.asked.append((kind, namespace, name))
        outcome = types.PolicyOutcome(kind, namespace, name, "deleted", 0)
        return types.PolicyResult((outcome,), False, 1, 0.004)

    async def policy(self, kind: str, namespace: str, name: str) -> types.PolicyText:
        return types.PolicyText(kind, namespace, name, "a/b.yaml", 3, 1, "text ü")

    async def apply(self, documents: types.PolicyDocuments, dry_run: bool) -> types.PolicyResult:
        self.asked.append((documents, dry_run))
        if self.result is not None:
            return self.result
        raise refuse(400, "no such field", file="p.yaml", line=7, path="spec.toPorts")

    async def promote(self, kind: str, namespace: str, name: str) -> types.PolicyResult:
        self.asked.append((kind, namespace, name))
        outcome = types.PolicyOutcome(kind, namespace, name, "updated", 1)
        return types.PolicyResult((outcome,), False, 1, 0.004)

    async def shadow_report(self) -> shadow.ShadowReport:
        return self.report

    async def audit_endpoint(self, namespace: str, name: str, on: bool) -> shadow.AuditResult:
        self.asked.append((namespace, name, on))
        return shadow.AuditResult(namespace, name, on, 2)

    async def audit_namespace(self, namespace: str, on: bool) -> shadow.AuditResult:
        self.asked.append((namespace, on))
        return shadow.AuditResult(namespace, None, on, 2)

    async def reload(self, request: reload.ReloadRequest) -> reload.ReloadResult:
        self.asked.append(request)
        if isinstance(self.reloaded, ApiError):
            raise self.reloaded
        assert self.reloaded is not None
        return self.reloaded

    async def explanation(
        self,
        source: str,
        destination: str,
        protocol: str,
        port: int | None,
        request: tuple[str | None, str | None],
    ) -> insight.Explanation:
        self.asked.append((source, destination, protocol, port, request))
        assert self.explained is not None
        return self.explained

    async def verdicts(self) -> tuple[insight.VerdictRow, ...]:
        everybody, everything = insight.Group((), all_but=True), insight.Traffic("all", ())
        web = insight.Group(("default/web",))
        return (insight.VerdictRow("ingress", web, everybody, everything, "deny", "", None),)

    async def findings(self) -> tuple[insight.PolicyFinding, ...]:
        return (
            insight.PolicyFinding("shadowed", "p.yaml", 7, "spec.ingress[0]", "never decides", "remove it"),
        )

    async def map_rows(self, name: str, limit: int | None) -> types.MapRows:
        return types.MapRows(name, ({"limit": limit},) if self.rows is None else self.rows)

    def subscribe(self, filters: Mapping[str, str]) -> StoredEvents:
        self.asked.append(filters)
        return self.subscription

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the test did not expect {name}")


@contextmanager
def served(node: ValueNode, path: Path) -> Iterator[Path]:
    """The node's API on a socket, while the block runs."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(application(node))

    async def start() -> None:
        await runner.setup()
        await web.SockSite(runner, listener).start()

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield path
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
