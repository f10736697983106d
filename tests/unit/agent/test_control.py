"""One sequence of changes: in force everywhere, or nowhere; and what the kernel refuses is tried again."""

import sqlite3
from dataclasses import replace

import pytest

from kinety.agent.promotion import promote
from kinety.agent.repair import FIRST_PAUSE, LAST_PAUSE
from kinety.agent.store import StoreError
from kinety.agent.wishes import Wishes
from kinety.api.errors import ApiError
from kinety.datapath.interface import Shape
from kinety.kernel.namespace import Namespace
from kinety.model.endpoint import EndpointId
from kinety.model.host_port import HostPort
from kinety.model.label import Label
from kinety.model.rule import Mode, PolicyKey
from kinety.plan.change import Capacity, CapacityError
from kinety.policy.error import PolicyError
from tests.unit.agent.conftest import POLICY, Agent, files, record
from tests.unit.agent.fake_datapath import STEPS

RULE1 = PolicyKey("CiliumNetworkPolicy", "default", "rule1")
DENY = POLICY.replace("ingress:", "ingressDeny:")


def test_changes_reach_plan_store_and_kernel(busy: Agent) -> None:
    assert busy.agrees()
    assert [item.endpoint.name for item in busy.store.endpoints()] == ["server", "client"]
    assert busy.store.policy_text(RULE1) == ("rule1.yaml", POLICY.replace("NAME", "rule1"))
    assert busy.control.directory.rule(max(busy.control.engine.rules)).file == "rule1.yaml"


def test_a_restart_takes_everything_up_again(busy: Agent) -> None:
    before = busy.held()
    busy.stop()
    busy.start()
    assert busy.held() == before
    assert busy.agrees()


def test_only_changed_policies_are_steps(busy: Agent) -> None:
    change = busy.control.apply(files("rule1", "rule2"))
    assert [(key.name, outcome) for key, outcome in change.outcomes.items()] == [
        ("rule1", "unchanged"),
        ("rule2", "created"),
    ]
    assert busy.control.apply(files("rule1", text=DENY)).outcomes == {RULE1: "updated"}
    assert busy.control.delete_policy(RULE1).outcomes == {RULE1: "deleted"}
    assert busy.agrees()


def test_a_rehearsal_changes_nothing(busy: Agent) -> None:
    before = busy.held()
    change = busy.control.rehearse(files("rule1", text=DENY))
    assert (change.outcomes, change.endpoints) == ({RULE1: "updated"}, 1)
    assert busy.held() == before


def test_what_is_not_there_and_what_is_there_twice(busy: Agent) -> None:
    before = busy.held()
    for refused, status in (
        (lambda: busy.control.detach("default", "nobody"), 404),
        (lambda: busy.control.delete_policy(PolicyKey("X", "", "y")), 404),
        (lambda: busy.control.apply(files("rule1", "rule1")), 400),
    ):
        with pytest.raises(ApiError) as raised:
            refused()
        assert raised.value.status == status
    assert busy.held() == before


def test_an_overflow_is_refused_before_anything_is_written(agent: Agent) -> None:
    agent.datapath.capacity = Capacity(rules=4)
    agent.stop()
    agent.start()
    agent.attach(1, "server")
    agent.control.apply(files("rule1"))
    before = agent.held()
    with pytest.raises(CapacityError, match="map rule"):
        agent.control.apply(files("rule2"))
    assert agent.held() == before
    assert agent.datapath.restored == 2, "nothing had to be mended"


@pytest.mark.parametrize("step", STEPS)
def test_a_kernel_that_refuses_half_way_is_mended_at_once(busy: Agent, step: str) -> None:
    before, restored = busy.held(), busy.datapath.restored
    busy.datapath.failing = step
    with pytest.raises(OSError, match=f"no memory for {step}"):
        busy.control.apply(files("rule1", text=DENY))
    assert busy.held() == before
    assert busy.agrees()
    assert busy.datapath.restored == restored + 1
    assert not busy.control.repair.pending
    assert busy.control.apply(files("rule1", text=DENY)).outcomes == {RULE1: "updated"}


@pytest.mark.parametrize("step", STEPS)
def test_a_kernel_that_goes_on_refusing_is_asked_again_with_growing_pauses(busy: Agent, step: str) -> None:
    plan, repair, kernel = busy.held()[0], busy.control.repair, busy.datapath
    kernel.failing = step
    restore, kernel.restore = kernel.restore, refuse
    with pytest.raises(OSError, match="no memory"):
        busy.control.apply(files("rule1", text=DENY))
    assert (busy.held()[0], repair.pending, repair.attempts) == (plan, True, 1)
    pauses = []
    for _ in range(12):
        pauses.append(repair.wait)
        busy.clock.now += repair.wait
        assert not repair.attempt()
    assert pauses[:3] == [pytest.approx(FIRST_PAUSE * 2**n) for n in range(3)]
    assert pauses[-1] == LAST_PAUSE
    assert repair.error == "no memory for restore (ENOMEM)"
    with pytest.raises(ApiError, match="refuses the plan in force") as raised:
        busy.control.apply(files("rule2"))
    assert (raised.value.status, busy.held()[0]) == (503, plan)
    kernel.restore = restore
    assert busy.control.apply(files("rule2")).outcomes
    assert not repair.pending
    assert busy.agrees()


def refuse(*_: object) -> None:
    raise OSError(12, "no memory for restore")


def test_a_store_that_cannot_commit_takes_the_kernel_back(busy: Agent) -> None:
    before = busy.held()
    busy.store._connection.execute("PRAGMA max_page_count = 1")
    busy.store._connection.execute("PRAGMA cache_spill = 0")
    with pytest.raises(StoreError, match="full"):
        busy.control.apply(files("rule2", text=POLICY + "#" * 100_000))
    assert busy.held() == before
    assert busy.agrees()


def test_an_attach_the_kernel_refuses_leaves_nothing(busy: Agent) -> None:
    before, restored = busy.held(), busy.datapath.restored
    busy.datapath.failing = "attach"
    with pytest.raises(OSError, match="no memory for attach"):
        busy.attach(3, "late")
    assert busy.held() == before
    assert busy.control.directory.endpoint(EndpointId(3)) is None
    assert busy.datapath.restored == restored, "nothing of the plan was touched"
    busy.datapath.failing = "endpoints"
    with pytest.raises(OSError, match="no memory for endpoints"):
        busy.attach(3, "late")
    assert busy.held() == before
    assert EndpointId(3) not in busy.datapath.interfaces, "an interface that no endpoint has"
    busy.attach(3, "late")
    assert busy.agrees()


def test_a_detach_is_never_taken_back(busy: Agent) -> None:
    """The interface is gone; that the maps could not follow is mended."""
    busy.datapath.failing = "removal"
    busy.control.detach("default", "client")
    assert [item.endpoint.name for item in busy.store.endpoints()] == ["server"]
    assert busy.agrees()
    assert not busy.control.repair.pending
    busy.stop()
    busy.start()
    assert list(busy.control.endpoints) == [("default", "server")]


def test_a_detach_the_kernel_refuses_changes_nothing(busy: Agent) -> None:
    before = busy.held()
    busy.datapath.failing = "detach"
    with pytest.raises(OSError, match="no memory for detach"):
        busy.control.detach("default", "client")
    assert busy.held() == before


def test_a_detach_the_store_refuses_changes_nothing(busy: Agent) -> None:
    other = sqlite3.connect(busy.path)
    other.execute("BEGIN IMMEDIATE")
    busy.store._connection.execute("PRAGMA busy_timeout = 0")
    before = busy.held()
    with pytest.raises(StoreError, match="locked"):
        busy.control.detach("default", "client")
    other.close()
    assert busy.held() == before
    assert EndpointId(2) in busy.datapath.interfaces
    assert busy.agrees()


def test_an_endpoint_whose_namespace_is_gone_is_forgotten(busy: Agent) -> None:
    busy.datapath.gone.add(EndpointId(2))
    (gone,) = busy.control.collect_vanished()
    assert gone == record(2, "client")
    assert busy.agrees()
    assert busy.control.collect_vanished() == ()


def test_an_endpoint_that_is_missing_at_the_start_is_forgotten(busy: Agent) -> None:
    busy.stop()
    del busy.datapath.interfaces[EndpointId(1)]
    busy.start()
    assert [gone.endpoint.name for gone in busy.control.collect_vanished()] == ["server"]
    assert list(busy.control.endpoints) == [("default", "client")]


def test_one_that_was_missing_and_is_detached_does_not_keep_the_others(busy: Agent) -> None:
    busy.stop()
    busy.datapath.interfaces.clear()
    busy.start()
    busy.control.detach("default", "server")
    assert [gone.endpoint.name for gone in busy.control.collect_vanished()] == ["client"]
    assert not busy.control.endpoints


def test_nobody_is_forgotten_while_the_kernel_refuses(busy: Agent) -> None:
    busy.control.repair.error = "no memory"
    busy.datapath.gone.add(EndpointId(2))
    assert busy.control.collect_vanished() == ()
    assert ("default", "client") in busy.control.endpoints


def test_host_addresses_are_a_step_only_when_they_change(busy: Agent) -> None:
    addresses = frozenset({b"\1" * 16})
    busy.control.change_host_addresses(addresses)
    assert busy.agrees()
    assert b"\1" * 16 in {prefix.packed for prefix in busy.datapath.ipcache}
    busy.datapath.failing = "ipcache"
    busy.control.change_host_addresses(addresses)
    assert busy.datapath.failing == "ipcache", "the kernel was not asked"
    with pytest.raises(OSError, match="no memory"):
        busy.control.change_host_addresses(frozenset())
    assert busy.control.host_addresses == addresses
    assert busy.agrees()


def test_classes_are_merged_when_there_is_time(busy: Agent) -> None:
    busy.control.delete_policy(RULE1)
    assert busy.control.engine.unsettled
    busy.control.repair.error = "no memory"
    assert not busy.control.settle(), "not while the kernel refuses"
    busy.control.repair.error = None
    assert busy.control.settle()
    assert busy.agrees()
    assert not busy.control.settle()
    assert not busy.control.engine.unsettled


INVARIANT = """apiVersion: kinety.io/v1alpha1
kind: Invariant
metadata: {name: NAME, namespace: default}
spec:
  mustDeny:
  - from: {endpoints: {matchLabels: {app: client}}}
    to: {endpoints: {matchLabels: {app: server}}}
    ports: [{port: "443", protocol: TCP}]
"""
NARROW = """apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: NAME}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: "80", protocol: TCP}]}]
"""


def test_what_breaks_an_invariant_is_refused_with_a_flow(busy: Agent) -> None:
    """As the first thing, a later policy, or the loss of one: nothing changes, and a restart keeps it."""
    control = busy.control
    with pytest.raises(PolicyError, match=r"^door\.yaml:6: spec\.mustDeny\[0\]: broken by default/client"):
        control.apply(files("door", text=INVARIANT))
    assert len(control.declarations) == 1
    control.apply(files("rule1", text=NARROW))
    control.apply(files("door", text=INVARIANT))
    busy.stop()
    busy.start()
    control, held = busy.control, busy.held()
    wider = files("rule2")
    for change in (
        lambda: control.apply(wider),
        lambda: control.rehearse(wider),
        lambda: control.delete_policy(PolicyKey("CiliumNetworkPolicy", "default", "rule1")),
    ):
        with pytest.raises(PolicyError, match=r"client → default/server, TCP/443: it must be denied"):
            change()
        assert busy.held() == held
        assert busy.agrees()
    control.delete_policy(PolicyKey("Invariant", "default", "door"))
    control.apply(wider)
    assert busy.agrees()


STAGED = POLICY.replace("{name: NAME}", '{name: NAME, annotations: {kinety.io/staged: "true"}}')


def test_a_promotion_takes_the_annotation_off_and_no_more(busy: Agent) -> None:
    """Of two policies in one file, one goes into force; a restart knows."""
    both = "---\n".join(STAGED.replace("NAME", name) for name in ("a", "b"))
    busy.control.apply(files("both", text=both))
    keys = [PolicyKey("CiliumNetworkPolicy", "default", name) for name in ("a", "b")]
    shadowed = busy.control.engine.endpoint_plan(EndpointId(1))
    change = promote(busy.control, keys[0])
    assert (change.outcomes, change.endpoints) == ({keys[0]: "updated"}, 1)
    for _ in range(2):
        modes = [busy.control.policies[key].mode for key in keys]
        assert modes == [Mode.ENFORCED, Mode.STAGED]
        assert busy.agrees()
        busy.stop()
        busy.start()
    assert busy.control.engine.endpoint_plan(EndpointId(1)).ingress != shadowed.ingress
    text = busy.store.policy_text(keys[0])
    assert text is not None
    assert text[1].count("kinety.io/staged") == 1
    with pytest.raises(PolicyError, match="in force already"):
        promote(busy.control, keys[0])
    with pytest.raises(ApiError) as raised:
        promote(busy.control, PolicyKey("X", "", "y"))
    assert raised.value.status == 404


def test_an_endpoint_in_audit_stays_so_over_a_restart(busy: Agent) -> None:
    enforced = busy.control.engine.endpoint_plan(EndpointId(1))
    assert busy.control.audit("default", "server", True) == 1
    assert busy.control.audit("default", "server", True) == 0
    for _ in range(2):
        plan = busy.datapath.plans[EndpointId(1)]
        assert (plan.ingress, plan.shadow_ingress) == (None, enforced.ingress)
        assert busy.agrees()
        busy.stop()
        busy.start()
    assert busy.control.audit("default", "server", False) == 1
    assert busy.datapath.plans[EndpointId(1)] == enforced


def test_an_endpoint_with_other_labels_is_another_to_all(busy: Agent) -> None:
    """A client becomes a server and a server a client: for the kernel, the store and the next start."""
    client, server = (busy.control.endpoints["default", name] for name in ("client", "server"))
    guest = frozenset({Label("container", "role", "guest")})
    busy.control.relabel([client.relabelled(guest)])
    assert busy.agrees()
    before, plans = busy.held(), dict(busy.datapath.plans)
    swapped = [
        replace(one, endpoint=replace(one.endpoint, labels=other.endpoint.labels))
        for one, other in ((client, server), (server, client))
    ]
    busy.datapath.failing = "endpoints"
    with pytest.raises(OSError, match="no memory for endpoints"):
        busy.control.relabel(swapped)
    assert busy.held() == before
    busy.control.relabel(swapped)
    for _ in range(2):
        assert busy.agrees()
        assert busy.datapath.plans[EndpointId(2)].ingress == plans[EndpointId(1)].ingress is not None
        assert busy.datapath.plans[EndpointId(1)].ingress is None
        busy.stop()
        busy.start()


def test_a_namespace_in_audit_includes_endpoints_to_come(busy: Agent) -> None:
    assert busy.control.audit("default", "", True) == 2
    busy.attach(3, "late")
    assert busy.control.endpoints["default", "late"].endpoint.audit
    assert busy.datapath.plans[EndpointId(3)] == busy.control.engine.endpoint_plan(EndpointId(3))
    assert busy.control.audit("other", "", True) == 0
    assert busy.control.audit("default", "late", True) == 0
    assert busy.control.audit("default", "", False) == 2, "the late one is in audit by itself"
    assert busy.agrees()


def test_the_next_endpoint_of_a_name_is_not_in_audit(busy: Agent) -> None:
    busy.control.audit("default", "server", True)
    busy.control.detach("default", "server")
    busy.attach(3, "server")
    assert not busy.control.endpoints["default", "server"].endpoint.audit
    assert busy.datapath.plans[EndpointId(3)].ingress is not None


def test_audit_that_the_kernel_refuses_did_not_happen(busy: Agent) -> None:
    before = busy.held()
    busy.datapath.failing = "endpoints"
    with pytest.raises(OSError, match="no memory"):
        busy.control.audit("default", "", True)
    assert busy.control.audited == busy.store.audited() == frozenset()
    busy.clock.now += LAST_PAUSE
    busy.control.repair.attempt()
    assert busy.held() == before
    with pytest.raises(ApiError) as raised:
        busy.control.audit("default", "nobody", True)
    assert raised.value.status == 404


def publish(busy: Agent, number: int, app: str, *ports: str) -> None:
    """Attach an endpoint that some ports of the node lead to."""
    wishes = Wishes(tuple(map(HostPort.parse, ports)), Shape(mac=b"\2" * 6))
    busy.control.attach(replace(record(number, app), wishes=wishes), None)


def test_host_ports_come_and_go_with_the_endpoint(busy: Agent) -> None:
    publish(busy, 3, "late", "8080:80", "53:53/udp")
    held = {EndpointId(3): (HostPort.parse("8080:80"), HostPort.parse("53:53/udp"))}
    assert busy.datapath.host_ports.held == held
    assert busy.datapath.host_ports.interfaces == {EndpointId(3): "kinety2"}
    assert busy.datapath.interfaces[EndpointId(3)].container_mac == b"\2" * 6
    busy.stop()
    busy.datapath.host_ports.held = {}
    busy.start()
    assert busy.datapath.host_ports.held == held
    busy.control.detach("default", "late")
    assert busy.datapath.host_ports.held == {}


def test_host_ports_that_the_kernel_refuses_leave_nothing(busy: Agent) -> None:
    before = busy.held()
    busy.datapath.host_ports.failing = True
    with pytest.raises(OSError, match="no memory for host ports"):
        publish(busy, 3, "late", "8080:80")
    assert busy.held() == before
    assert EndpointId(3) not in busy.datapath.interfaces
    assert busy.datapath.host_ports.held == {}
    publish(busy, 3, "late", "8080:80")
    busy.datapath.host_ports.failing = True
    busy.control.detach("default", "late")
    assert busy.datapath.host_ports.held == {}, "an interface that is gone is not given back"
    assert busy.held() == before


def test_an_endpoint_that_gets_its_interface_back_has_its_host_ports_and_mac(busy: Agent) -> None:
    with Namespace.open("/proc/self/ns/net") as own:
        wishes = Wishes((HostPort.parse("8080:80"),), Shape(mac=b"\2" * 6))
        there = replace(record(3, "late", netns=own.number), netns="/proc/self/ns/net", wishes=wishes)
        busy.control.attach(there, own)
    busy.datapath.gone = {EndpointId(3)}
    assert busy.control.collect_vanished() == ()
    assert busy.datapath.interfaces[EndpointId(3)].container_mac == b"\2" * 6
    assert busy.datapath.host_ports.interfaces == {EndpointId(3): "kinety3"}
