"""The API's operations over a datapath of values: what becomes of refusals, addresses and numbers."""

import asyncio
import os
import re
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kinety.agent import request as attach_request
from kinety.agent.denial import Denials
from kinety.agent.names.cache import DEFAULT_ROOM
from kinety.agent.node import AgentNode, parse_files, stored_files
from kinety.agent.proxies import view as proxy_view
from kinety.agent.runtimes import Runtimes
from kinety.agent.store import StoreError
from kinety.agent.stream import EventStream
from kinety.agent.worker import Worker
from kinety.api import address, naming, overview, types
from kinety.api.errors import ApiError
from kinety.plan.change import Capacity
from kinety.proxy.listener import ProxyState
from kinety.source.runtime import Container, Removed
from tests.unit.agent.conftest import POLICY, Agent
from tests.unit.agent.fake_runtime import FakeRuntime

REQUEST = types.EndpointRequest("x", netns="/run/netns/x", labels=("app=server",))


class NoNamespace:
    """Stands for a network namespace, and notices being closed."""

    number = 4711

    def __init__(self) -> None:
        self.closed = 0

    def call(self, function: object) -> list[str]:
        """The tables of routes in it: there is none."""
        return []

    def __enter__(self) -> "NoNamespace":
        return self

    def __exit__(self, *_: object) -> None:
        self.closed += 1


class Harness:
    """A node whose operations are run one at a time."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.namespace = NoNamespace()
        self.runtime = FakeRuntime()

    def __call__(self, use: Callable[[AgentNode], Coroutine[Any, Any, Any]]) -> Any:
        async def run() -> Any:
            worker = Worker()
            control = self.agent.control
            denials = Denials(worker, lambda flow: None, lambda: control.steps)
            stream = EventStream(lambda: None, control.directory, denials)
            runtimes = Runtimes([self.runtime])
            node = AgentNode(control, worker, stream, Path("/s"), 1.0, runtimes)
            try:
                return await use(node)
            finally:
                worker.close()

        return asyncio.run(run())

    def apply(self, *texts: str, dry_run: bool = False) -> types.PolicyResult:
        documents = tuple(types.Document(f"{n}.yaml", text) for n, text in enumerate(texts))
        result = self(lambda node: node.apply(types.PolicyDocuments(documents), dry_run))
        assert isinstance(result, types.PolicyResult)
        return result

    def refused(self, use: Callable[[AgentNode], Coroutine[Any, Any, Any]]) -> ApiError:
        with pytest.raises(ApiError) as raised:
            self(use)
        return raised.value


@pytest.fixture
def harness(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> Harness:
    made = Harness(agent)
    monkeypatch.setattr(attach_request, "open_namespace", lambda request: (made.namespace, request.netns))
    monkeypatch.setattr(attach_request, "has_interface", lambda namespace, name: name == "lo")
    return made


def test_an_attach_is_answered_with_the_endpoint(harness: Harness) -> None:
    made = harness(lambda node: node.attach(REQUEST))
    assert (made.id, made.ipv4, made.ipv6, made.netns) == (1, "10.1.0.1", "fd01::1", "/run/netns/x")
    assert made.attach_seconds > 0
    assert harness.namespace.closed == 1
    assert harness(lambda node: node.endpoint("default", "x")).attach_seconds is None
    (stored,) = harness.agent.store.endpoints()
    assert stored.netns_number == 4711


CONTAINER = types.Attachment("c1", "net")


def test_an_endpoint_has_the_labels_of_its_container(harness: Harness) -> None:
    async def use(node: AgentNode) -> list[set[str]]:
        made = await node.attach(replace(REQUEST, attachment=CONTAINER))
        seen = [set(made.labels)]
        for labels in ({"app": "other", "role": "admin"}, {}):
            await node.heed(Container("c1", "web", labels))
            seen.append(set((await node.endpoint("default", "x")).labels))
        await node.heed(Container("c2", "nobody's", {"role": "admin"}))
        return seen

    harness.runtime.known["c1"] = Container("c1", "web", {"app": "other", "role": "guest"})
    own = {"k8s:app=server", "k8s:io.kubernetes.pod.namespace=default"}
    assert harness(use) == [own | {"container:role=guest"}, own | {"container:role=admin"}, own]
    assert harness.agent.agrees()
    steps = harness.agent.control.steps
    harness(lambda node: node.heed(Container("c1", "web", {})))
    assert harness.agent.control.steps == steps, "nothing has changed"


@pytest.mark.parametrize("refused", [False, True])
def test_labels_that_change_while_a_container_is_attached_are_not_lost(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    async def use(node: AgentNode) -> tuple[types.Endpoint, str | None]:
        async def told_too_early(container: str) -> Container:
            ((_, told),) = node._runtimes._attaching
            told.append((harness.runtime, Container(container, "web", {"role": "admin"})))
            return Container("c1", "web", {"role": "guest"})

        harness.runtime.find = told_too_early  # type: ignore[method-assign]
        await node.attach(replace(REQUEST, attachment=CONTAINER))
        (shown,) = (await node.status()).runtimes
        return await node.endpoint("default", "x"), shown.problem

    def refuse(records: object) -> None:
        raise OSError(12, "no memory")

    if refused:
        monkeypatch.setattr(harness.agent.control, "relabel", refuse)
    made, problem = harness(use)
    assert ("container:role=admin" in made.labels) == (problem is None) == (not refused)


def test_a_container_that_its_runtime_has_removed_is_no_endpoint(harness: Harness) -> None:
    harness(lambda node: node.attach(replace(REQUEST, attachment=CONTAINER)))
    harness(lambda node: node.heed(Removed("c2")))
    assert len(harness.agent.control.endpoints) == 1
    for _ in range(2):
        harness(lambda node: node.heed(Removed("c1")))
        assert harness.agent.control.endpoints == {}
    assert harness.agent.agrees()


def test_a_runtime_that_does_not_answer_refuses_its_containers_and_nobody_else(harness: Harness) -> None:
    harness.runtime.failure = OSError("silent")
    before = harness.agent.held()
    refused = harness.refused(lambda node: node.attach(replace(REQUEST, attachment=CONTAINER)))
    assert (refused.status, harness.namespace.closed) == (503, 1)
    assert harness.agent.held() == before
    assert harness(lambda node: node.attach(REQUEST)).name == "x"
    assert harness(lambda node: node.status()).runtimes[0].name == "fake"


def test_attachments_are_listed_by_network_and_end_by_container(harness: Harness) -> None:
    async def use(node: AgentNode) -> list[object]:
        for name, network in (("a", "blue"), ("b", "red")):
            own = types.Attachment(f"c-{name}", network)
            made = await node.attach(replace(REQUEST, name=name, attachment=own))
            assert (made.attachment, made.default_routes) == (own, ())
        await node.attach(REQUEST)
        seen: list[object] = [
            [item.name for item in await node.attachments(network)] for network in (None, "red", "green")
        ]
        await node.detach_attachment("c-a", "eth0")
        await node.detach("default", "b")
        return [*seen, await node.attachments(None)]

    assert harness(use) == [["a", "b"], ["b"], [], ()]
    for container in ("c-a", "c-b", "x"):
        error = harness.refused(lambda node, name=container: node.detach_attachment(name, "eth0"))
        assert error.status == 404
    assert [record.attachment for record in harness.agent.store.endpoints()] == [None]


def test_a_container_that_has_the_interface_is_refused(harness: Harness) -> None:
    request = replace(REQUEST, attachment=types.Attachment("c1", "blue"))
    harness(lambda node: node.attach(request))
    before = harness.agent.held()
    error = harness.refused(lambda node: node.attach(replace(request, name="y")))
    assert (error.status, error.problem.path) == (409, "attachment")
    assert harness.agent.held() == before


def test_a_host_port_is_given_once(harness: Harness) -> None:
    first = replace(REQUEST, host_ports=("8080:80",), mac="02:00:00:00:00:07")
    made = harness(lambda node: node.attach(first))
    assert (made.host_ports, made.mac) == (("8080:80/TCP",), "02:00:00:00:00:07")
    before = harness.agent.held()
    other = replace(REQUEST, name="y", host_ports=("8081:80", "0.0.0.0:8080:80"))
    error = harness.refused(lambda node: node.attach(other))
    assert (error.status, error.problem.path) == (409, "host_ports")
    said = "host port 0.0.0.0:8080:80/TCP is taken: 8080:80/TCP leads to endpoint default/x"
    assert error.problem.error == said
    assert harness.agent.held() == before

    async def one_after_the_other(node: AgentNode) -> types.Endpoint:
        await node.detach("default", "x")
        await node.attach(other)
        return await node.endpoint("default", "y")

    assert harness(one_after_the_other).host_ports == ("8081:80/TCP", "0.0.0.0:8080:80/TCP")


def test_an_endpoint_is_shown_with_its_bandwidth_and_what_it_dropped(harness: Harness) -> None:
    asked = replace(REQUEST, bandwidth=types.Bandwidth(egress_rate=10_000_000))
    made = harness(lambda node: node.attach(asked))
    assert made.bandwidth == types.Bandwidth(10_000_000, 5_000_000, 0, 0)
    assert made.rate_exceeded == 3
    other = harness(lambda node: node.attach(replace(REQUEST, name="y")))
    assert (other.bandwidth, other.rate_exceeded) == (None, 0)
    harness.agent.stop()
    harness.agent.start()
    assert harness(lambda node: node.endpoint("default", "x")).bandwidth == made.bandwidth


def test_ids_are_not_given_again_and_addresses_are(harness: Harness) -> None:
    async def again(node: AgentNode) -> list[types.Endpoint]:
        made = []
        for _ in range(8):
            made.append(await node.attach(REQUEST))
            await node.detach("default", "x")
            harness.agent.clock.now += 30
        return made

    made = harness(again)
    assert [item.id for item in made] == list(range(1, 9))
    assert [item.ipv4 for item in made[4:]] == ["10.1.0.5", "10.1.0.6", "10.1.0.1", "10.1.0.2"]
    assert harness.agent.control.addresses.entries() == ()


@pytest.mark.parametrize(
    ("failing", "status", "message"),
    [
        (OSError(12, "no memory"), 503, r"the kernel refused \(ENOMEM\): no memory"),
        (ValueError("address is another endpoint's"), 409, "another endpoint's"),
        (StoreError("store x: disk full"), 503, "disk full"),
        (FileExistsError(17, "make veth"), 503, "EEXIST"),
    ],
)
def test_a_refused_attach_gives_everything_back(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, failing: Exception, status: int, message: str
) -> None:
    before = harness.agent.held()

    def refuse(*_: object) -> None:
        raise failing

    monkeypatch.setattr(harness.agent.datapath, "attach", refuse)
    error = harness.refused(lambda node: node.attach(REQUEST))
    assert error.status == status
    assert re.search(message, error.problem.error)
    assert harness.agent.held() == before
    assert harness.namespace.closed == 1


def test_an_interface_that_exists_is_named(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise FileExistsError(17, "make veth")

    monkeypatch.setattr(harness.agent.datapath, "attach", refuse)
    request = types.EndpointRequest("x", netns="/run/netns/x", interface="lo")
    error = harness.refused(lambda node: node.attach(request))
    assert (error.status, error.problem.path) == (409, "interface")
    assert error.problem.error == "/run/netns/x has an interface lo already; give the endpoint another"


def test_a_name_or_an_address_that_is_taken(harness: Harness) -> None:
    harness(lambda node: node.attach(REQUEST))
    assert harness.refused(lambda node: node.attach(REQUEST)).status == 409
    other = types.EndpointRequest("y", netns="/run/netns/y", addresses=("10.1.0.1",))
    assert harness.refused(lambda node: node.attach(other)).problem.path == "addresses"
    harness.agent.control.directory.host_addresses = frozenset({bytes(10) + b"\xff\xff\x0a\x09\x09\x09"})
    hosts = types.EndpointRequest("y", netns="/run/netns/y", addresses=("10.9.9.9",))
    assert "in use" in harness.refused(lambda node: node.attach(hosts)).problem.error


def test_an_exhausted_pool_is_no_room(harness: Harness) -> None:
    for number in range(6):
        request = types.EndpointRequest(f"x{number}", netns="/run/netns/x")
        harness(lambda node, request=request: node.attach(request))
    error = harness.refused(lambda node: node.attach(REQUEST))
    assert error.status == 507
    assert "10.1.0.0/29 is exhausted: 6 of 6 in use; detach endpoints" in error.problem.error
    assert [pool.held for pool in harness.agent.control.addresses.pools] == [6, 6]
    harness(lambda node: node.detach("default", "x3"))
    harness.agent.clock.now += 9.5
    error = harness.refused(lambda node: node.attach(REQUEST))
    assert error.status == 507
    assert "5 of 6 in use, 1 in quarantine; the next is free in 21 s" in error.problem.error
    harness.agent.clock.now += 20.5
    assert harness(lambda node: node.attach(REQUEST)).ipv4 == "10.1.0.4"


def test_addresses_are_shown_with_who_has_them_and_for_how_long_nobody_gets_them(harness: Harness) -> None:
    harness(lambda node: node.attach(REQUEST))
    harness(lambda node: node.attach(replace(REQUEST, name="y", addresses=("192.0.2.1", "fd01::9"))))
    harness.agent.wall += 5
    harness(lambda node: node.detach("default", "x"))
    harness.agent.clock.now += 10
    pools = "10.1.0.0/29", "fd01::/64"
    assert harness(lambda node: node.addresses()) == (
        address.Address("10.1.0.1", "quarantine", "default/x", 1000.0, pools[0], 20.0),
        address.Address("192.0.2.1", "in-use", "default/y", 1000.0, None),
        address.Address("fd01::1", "quarantine", "default/x", 1000.0, pools[1], 20.0),
        address.Address("fd01::9", "in-use", "default/y", 1000.0, pools[1]),
    )
    status = harness(lambda node: node.status())
    assert [(each.prefix, each.used, each.quarantined) for each in status.pools] == [
        (pools[0], 0, 1),
        (pools[1], 1, 1),
    ]
    assert status.addresses_outside == 1
    harness.agent.clock.now += 20
    later = harness(lambda node: node.status())
    assert [(each.used, each.quarantined) for each in later.pools] == [(0, 0), (1, 0)]


def test_an_apply_says_what_became_of_each_policy(harness: Harness) -> None:
    harness(lambda node: node.attach(REQUEST))
    result = harness.apply(POLICY.replace("NAME", "a"), POLICY.replace("NAME", "b"))
    assert [(item.name, item.outcome, item.rules) for item in result.policies] == [
        ("a", "created", 2),
        ("b", "created", 2),
    ]
    assert (result.endpoints, result.dry_run, result.seconds > 0) == (1, False, True)
    tried = harness.apply(POLICY.replace("NAME", "a") + "  egress: [{}]\n", dry_run=True)
    assert (tried.policies[0].outcome, tried.policies[0].rules, tried.dry_run) == ("updated", 3, True)
    assert harness(lambda node: node.policies())[0].rules == 2
    deleted = harness(lambda node: node.delete_policy("CiliumNetworkPolicy", "default", "a"))
    assert deleted.policies[0].outcome == "deleted"


def test_a_refused_document_is_named_with_its_place(harness: Harness) -> None:
    documents = (
        types.Document("good.yaml", POLICY.replace("NAME", "good")),
        types.Document("bad.yaml", POLICY.replace("NAME", "bad").replace("ingress", "x")),
    )
    error = harness.refused(lambda node: node.apply(types.PolicyDocuments(documents), False))
    assert (error.status, error.problem.file, error.problem.line) == (400, "bad.yaml", 6)
    assert error.problem.path == "spec.x"
    assert harness.agent.control.policies == {}


NETWORK_POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: storage}
spec:
  podSelector: {matchLabels: {tier: storage}}
  ingress:
  - from: [{podSelector: {matchLabels: {tier: frontend}}}]
    ports: [{port: 6379}]
"""


def test_a_network_policy_is_in_force(harness: Harness) -> None:
    harness(lambda node: node.attach(REQUEST))
    result = harness.apply(NETWORK_POLICY.replace("{matchLabels: {tier: storage}}", "{}"))
    assert [(item.kind, item.outcome) for item in result.policies] == [("NetworkPolicy", "created")]
    assert result.endpoints == 1
    (found,) = harness(lambda node: node.policies())
    assert (found.kind, found.namespace, found.name, found.line) == ("NetworkPolicy", "default", "storage", 7)


@pytest.mark.parametrize(
    ("change", "line", "path"),
    [
        (
            ("{podSelector: {matchLabels: {tier: frontend}}}", "{ipBlock: {cidr: nowhere}}"),
            7,
            "spec.ingress[0].from[0].ipBlock.cidr",
        ),
        (("port: 6379", "port: '6379'"), 8, "spec.ingress[0].ports[0].port"),
    ],
)
def test_what_a_network_policy_cannot_say_is_named_with_its_place(
    change: tuple[str, str], line: int, path: str, harness: Harness
) -> None:
    documents = (types.Document("p.yaml", NETWORK_POLICY.replace(*change)),)
    error = harness.refused(lambda node: node.apply(types.PolicyDocuments(documents), False))
    assert (error.status, error.problem.file) == (400, "p.yaml")
    assert (error.problem.line, error.problem.path) == (line, path)
    assert harness.agent.control.policies == {}


REFERRED_TO = """apiVersion: cilium.io/v2
kind: CiliumCIDRGroup
metadata: {name: vpn}
spec: {externalCIDRs: [192.0.2.0/24]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: prod}
spec: {selector: {app: web}}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: from-vpn}
spec:
  endpointSelector: {}
  ingress:
  - fromCIDRSet: [{cidrGroupRef: vpn}]
"""


def test_what_policies_refer_to_is_kept_and_removed_like_policies(harness: Harness) -> None:
    harness(lambda node: node.attach(REQUEST))
    result = harness.apply(REFERRED_TO)
    assert [(item.kind, item.outcome, item.rules) for item in result.policies] == [
        ("CiliumCIDRGroup", "created", None),
        ("Service", "created", None),
        ("CiliumNetworkPolicy", "created", 1),
    ]
    found = {item.kind: item for item in harness(lambda node: node.policies())}
    assert {kind: (item.namespace, item.name, item.line) for kind, item in found.items()} == {
        "CiliumCIDRGroup": ("", "vpn", 1),
        "CiliumNetworkPolicy": ("default", "from-vpn", 17),
        "Service": ("prod", "web", 6),
    }
    text = harness(lambda node: node.policy("Service", "prod", "web")).text
    assert text.startswith("apiVersion: v1\nkind: Service")
    assert harness.apply(REFERRED_TO.replace("192.0.2.0", "198.51.100.0")).endpoints == 1
    gone = harness(lambda node: node.delete_policy("CiliumCIDRGroup", "", "vpn"))
    assert ([item.outcome for item in gone.policies], gone.endpoints) == (["deleted"], 1)
    harness.agent.stop()
    harness.agent.start()
    kinds = [item.kind for item in harness(lambda node: node.policies())]
    assert kinds == ["CiliumNetworkPolicy", "Service"]
    assert harness.agent.agrees()


def test_named_ports_are_the_endpoints_and_survive_a_restart(harness: Harness) -> None:
    harness(lambda node: node.attach(replace(REQUEST, port_names=("redis=6379/TCP",))))
    named = NETWORK_POLICY.replace("{matchLabels: {tier: storage}}", "{}").replace(
        "port: 6379", "port: redis"
    )
    named = named.replace("from: [{podSelector: {matchLabels: {tier: frontend}}}]", "from: []")
    assert harness.apply(named).endpoints == 1
    before = harness.agent.control.engine.snapshot()
    assert any(key.port == 6379 for table in before.rule_sets.values() for key in table.rows)
    harness.agent.stop()
    harness.agent.start()
    assert harness.agent.control.engine.snapshot() == before
    (shown,) = harness(lambda node: node.endpoints())
    assert shown.port_names == ("redis=6379/TCP",)


def test_a_full_map_is_no_room(harness: Harness) -> None:
    harness.agent.stop()
    harness.agent.datapath.capacity = Capacity(rules=2)
    harness.agent.start()
    documents = types.PolicyDocuments((types.Document("p.yaml", POLICY.replace("NAME", "p")),))
    error = harness.refused(lambda node: node.apply(documents, False))
    assert (error.status, "nothing was applied" in error.problem.error) == (507, True)


def test_stored_files_keep_only_what_is_in_force(agent: Agent) -> None:
    text = POLICY.replace("NAME", "a") + "---\n" + POLICY.replace("NAME", "b")
    agent.control.apply(parse_files([types.Document("both.yaml", text)]))
    agent.control.apply(parse_files([types.Document("new.yaml", POLICY.replace("NAME", "a"))]))
    assert {
        file.file: [policy.key.name for policy in file.policies] for file in stored_files(agent.store)
    } == {
        "both.yaml": ["b"],
        "new.yaml": ["a"],
    }


def test_the_status_is_this_process(harness: Harness) -> None:
    status = harness(lambda node: node.status())
    assert (status.pid, status.state_dir, status.started) == (os.getpid(), "/s", 1.0)


def test_the_status_tells_of_proxies_and_of_names(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    status = harness(lambda node: node.status())
    assert status.proxies == (overview.ProxyState("envoy", True, 1, None),)
    assert (status.names.known, status.names.room) == (0, DEFAULT_ROOM)

    async def learn(node: AgentNode) -> overview.Status:
        await node.learn_name("a.com", naming.NameAnswer(("192.0.2.1", "192.0.2.2"), 60))
        return await node.status()

    assert harness(learn).names.known == 2

    async def hang() -> ProxyState:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(harness.agent.proxy, "state", hang)
    monkeypatch.setattr(proxy_view, "_GLANCE", 0.01)
    [shown] = harness(lambda node: node.status()).proxies
    assert shown == overview.ProxyState("envoy", True, 0, "it does not answer")


def test_an_explanation_takes_a_name_for_its_first_address(harness: Harness) -> None:
    async def explained(node: AgentNode) -> list[str]:
        await node.attach(REQUEST)
        await node.learn_name("www.a.com", naming.NameAnswer(("2001:db8::1", "192.0.2.20", "192.0.2.3"), 60))
        await node.learn_name("v6.a.com", naming.NameAnswer(("2001:db8::1",), 60))
        asked = [("x", "WWW.a.com."), ("x", "v6.a.com"), ("www.a.com", "x")]
        found = [await node.explanation(*ends, "TCP", 443, (None, None)) for ends in asked]
        return [f"{each.source} {each.destination}" for each in found]

    assert harness(explained) == ["default/x 192.0.2.3", "default/x 2001:db8::1", "192.0.2.3 default/x"]
    error = harness.refused(lambda node: node.explanation("x", "b.com", "TCP", 443, (None, None)))
    assert "there is no endpoint 'b.com'" in str(error)
