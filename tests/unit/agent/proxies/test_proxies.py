import asyncio

import pytest

from kinety.agent.control import Control
from kinety.api.errors import ApiError
from kinety.model.rule import PolicyKey
from kinety.model.verdict import VerdictKind
from kinety.proxy.error import ProxyError
from tests.unit.agent.conftest import Agent, files

CONTENT = """apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: NAME}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - toPorts: [{ports: [{port: "PORT", protocol: TCP}], rules: {http: [{path: /NAME}]}}]
"""


def apply(agent: Agent, *names: str, port: int = 80) -> None:
    agent.control.apply(files(*names, text=CONTENT.replace("PORT", str(port))))


def delete(control: Control, name: str) -> None:
    control.delete_policy(PolicyKey("CiliumNetworkPolicy", "default", name))


def test_a_listener_is_served_before_rule_sets_point_at_it(agent: Agent) -> None:
    agent.attach(1, "server")
    apply(agent, "one")
    (layer7,) = agent.control.engine.layer7_sets
    assert agent.datapath.ports == {layer7: 10000} == agent.store.proxy_ports.all()
    assert agent.proxy.held[10000].layer7.policies == ("CiliumNetworkPolicy/default/one",)
    (table,) = agent.datapath.tables.values()
    redirected = [each for each in table.values() if each.kind is VerdictKind.REDIRECT]
    assert {each.layer7 for each in redirected} == {layer7}


def test_what_is_in_use_already_asks_no_proxy(agent: Agent) -> None:
    agent.attach(1, "server")
    apply(agent, "one")
    calls = agent.proxy.calls
    agent.attach(2, "server2")
    agent.attach(3, "client")
    agent.control.detach("default", "client")
    assert agent.proxy.calls == calls


def test_a_proxy_that_refuses_leaves_everything_as_it_was(agent: Agent) -> None:
    agent.attach(1, "server")
    apply(agent, "one")
    before = agent.held()
    agent.proxy.failing = True
    with pytest.raises(ApiError, match="Envoy refuses the listener; nothing was applied") as caught:
        apply(agent, "two")
    assert caught.value.status == 503
    assert agent.held() == before
    assert not agent.control.repair.pending
    agent.proxy.failing = False
    apply(agent, "two")
    assert agent.agrees()


def test_without_such_a_proxy_nothing_is_applied(agent: Agent) -> None:
    agent.attach(1, "server")
    before = agent.held()
    text = CONTENT.replace("PORT", "443").replace("rules: {http: [{path: /NAME}]}", "serverNames: [a.test]")
    with pytest.raises(
        ApiError, match=r"CiliumNetworkPolicy/default/one .*--envoy PATH; nothing was applied"
    ):
        agent.control.apply(files("one", text=text))
    assert agent.held() == before


def test_ports_run_out_before_anything_is_applied(agent: Agent) -> None:
    agent.attach(1, "server")
    for number, name in enumerate(("one", "two", "three")):
        apply(agent, name, port=80 + number)
    before = agent.held()
    with pytest.raises(ApiError, match="more than the 3 ports of 10000-10002") as caught:
        apply(agent, "four", port=90)
    assert caught.value.status == 507
    assert agent.held() == before


def test_ports_that_somebody_else_has_are_left_out(agent: Agent) -> None:
    agent.attach(1, "server")
    agent.occupied = {10000, 10002}
    apply(agent, "one")
    assert set(agent.control.proxies.ports.values()) == {10001}
    with pytest.raises(ApiError, match="of which others may have some"):
        apply(agent, "two", port=81)


def collect(agent: Agent) -> bool:
    """What the agent does every few seconds. Whether listeners are on their way out still."""
    if agent.control.retire_listeners():
        asyncio.run(agent.control.proxies.end())
    return agent.control.proxies.leaving(agent.control.engine.layer7_sets)


def test_a_listener_goes_when_no_flow_goes_through_it(agent: Agent) -> None:
    agent.attach(1, "server")
    apply(agent, "one")
    assert not collect(agent)
    agent.datapath.flows.busy = {10000: 1}
    delete(agent.control, "one")
    assert collect(agent)
    assert agent.proxy.held.keys() == {10000}
    agent.datapath.flows.busy = {}
    assert not collect(agent)
    assert (agent.proxy.held, agent.store.proxy_ports.all(), dict(agent.control.proxies.ports)) == (
        {},
        {},
        {},
    )


def test_a_proxy_that_does_not_end_a_listener_holds_up_nobody(agent: Agent) -> None:
    """Its port is given to nobody else, and what is wanted again gets another one."""
    agent.attach(1, "server")
    apply(agent, "one")
    delete(agent.control, "one")
    agent.proxy.failing = True
    calls = agent.proxy.calls
    assert agent.control.retire_listeners()
    assert agent.proxy.calls == calls, "the worker asks no proxy"
    with pytest.raises(ProxyError):
        asyncio.run(agent.control.proxies.end())
    served = list(agent.control.proxies.served(agent.control.engine.layer7_sets))
    assert [(each.port, each.live) for _, each in served] == [(10000, False)]
    agent.proxy.failing = False
    apply(agent, "one")
    assert list(agent.control.proxies.ports.values()) == list(agent.datapath.ports.values()) == [10001]
    assert agent.proxy.held.keys() == {10000, 10001}
    assert not collect(agent)
    assert agent.proxy.held.keys() == {10001}
    apply(agent, "two", port=81)
    assert sorted(agent.control.proxies.ports.values()) == [10000, 10001]


def test_a_listener_that_was_not_ended_is_after_a_restart(agent: Agent) -> None:
    agent.attach(1, "server")
    apply(agent, "one")
    delete(agent.control, "one")
    assert agent.control.retire_listeners()
    agent.stop()
    agent.start()
    assert (agent.proxy.held, agent.store.proxy_ports.all()) == ({}, {})
    assert not agent.control.proxies.leaving(agent.control.engine.layer7_sets)


def test_one_that_is_wanted_again_has_not_gone(agent: Agent) -> None:
    agent.attach(1, "server")
    apply(agent, "one")
    delete(agent.control, "one")
    calls = agent.proxy.calls
    apply(agent, "one")
    assert not agent.control.retire_listeners()
    assert (agent.proxy.calls, list(agent.control.proxies.ports.values())) == (calls, [10000])


def test_an_edit_of_the_same_rules_keeps_the_port(agent: Agent) -> None:
    """Open flows stay where they are, and are judged anew from the next request on."""
    agent.attach(1, "server")
    apply(agent, "one", "two")
    former = dict(agent.control.proxies.ports)
    agent.control.apply(files("one", text=CONTENT.replace("PORT", "80").replace("/NAME", "/other")))
    assert not agent.control.proxies.leaving(agent.control.engine.layer7_sets)
    assert sorted(agent.control.proxies.ports.values()) == sorted(former.values())
    assert agent.control.proxies.ports.keys() != former.keys()
    assert agent.datapath.ports == dict(agent.control.proxies.ports) == agent.store.proxy_ports.all()
    (listener,) = agent.proxy.held.values()
    assert {each.path for each in listener.layer7.http} == {"/other", "/two"}


def test_a_kernel_that_refuses_an_edit_leaves_the_listener_as_it_was(agent: Agent) -> None:
    agent.attach(1, "server")
    apply(agent, "one")
    before = agent.held()
    agent.datapath.failing = "endpoints"
    with pytest.raises(OSError, match="no memory"):
        agent.control.apply(files("one", text=CONTENT.replace("PORT", "80").replace("/NAME", "/other")))
    assert agent.held() == before
    assert not agent.control.repair.pending


def test_other_rules_get_other_ports(agent: Agent) -> None:
    agent.attach(1, "server")
    apply(agent, "one")
    delete(agent.control, "one")
    apply(agent, "two")
    assert sorted(agent.control.proxies.ports.values()) == [10000, 10001]


def test_a_restart_keeps_every_port(agent: Agent) -> None:
    agent.attach(1, "server")
    for number, name in enumerate(("one", "two")):
        apply(agent, name, port=80 + number)
    delete(agent.control, "one")
    ports = dict(agent.control.proxies.ports)
    agent.stop()
    agent.start()
    (layer7,) = agent.control.engine.layer7_sets
    assert agent.datapath.ports == {layer7: ports[layer7]} == agent.store.proxy_ports.all()
    assert agent.proxy.held.keys() == {ports[layer7]}
