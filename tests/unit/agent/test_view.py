"""What the agent says of itself, against what it was told."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from kinety.agent import view
from kinety.api.errors import ApiError
from kinety.api.overview import Configuration
from kinety.model.endpoint import EndpointId
from kinety.model.rule import PolicyKey
from tests.unit.agent.conftest import POLICY, Agent, files

STREAM = (
    f"# first\n{POLICY.replace('NAME', 'a')}---\n# second\n{POLICY.replace('NAME', 'b')}--- # third\n{POLICY}"
)


def test_endpoints_by_name_with_their_policy(busy: Agent) -> None:
    client, server = view.endpoints(busy.control)
    assert (server.name, server.ipv4, server.ipv6, server.state) == ("server", "10.0.0.1", "fd00::1", "ready")
    assert (server.ingress.enforced, server.egress.enforced) == (True, False)
    assert server.ingress.rule_set in busy.datapath.tables
    assert (client.ingress.enforced, client.ingress.rule_set) == (False, None)
    assert client.labels == ("k8s:app=client", "k8s:io.kubernetes.pod.namespace=default")
    assert client.identity != server.identity


def test_an_endpoint_without_its_interface_is_missing(busy: Agent) -> None:
    del busy.datapath.interfaces[EndpointId(1)]
    server = view.endpoints(busy.control)[1]
    assert (server.state, server.host_interface, server.host_index, server.mtu) == (
        "missing",
        None,
        None,
        None,
    )


def test_identities_count_the_endpoints_that_have_them(busy: Agent) -> None:
    found = {item.labels: item for item in view.identities(busy.control)}
    client = found["k8s:app=client", "k8s:io.kubernetes.pod.namespace=default"]
    assert (client.endpoints, client.class_id != 0) == (1, True)
    assert found[("reserved:world",)].endpoints == 0


def test_rules_with_their_counters(busy: Agent) -> None:
    rules = {rule.id: rule for rule in view.rules(busy.control)}
    assert (rules[2].file, rules[2].line, rules[2].path) == ("rule1.yaml", 7, "spec.ingress[0]")
    assert (rules[2].packets, rules[2].bytes, rules[2].direction, rules[2].action) == (
        3,
        180,
        "ingress",
        "allow",
    )
    assert (rules[3].line, rules[3].packets) == (8, 0)


def test_a_policy_is_the_text_of_its_own_document(busy: Agent) -> None:
    busy.control.apply(files("c", text=STREAM))
    keys = {policy.key.name: policy.key for policy in busy.control.policies.values()}
    assert view.policy_text(busy.control, keys["a"]).text == "# first\n" + POLICY.replace("NAME", "a")
    assert view.policy_text(busy.control, keys["b"]).text == "# second\n" + POLICY.replace("NAME", "b")
    third = view.policy_text(busy.control, keys["c"])
    assert (third.text, third.line) == ("# third\n" + POLICY.replace("NAME", "c"), 27)
    with pytest.raises(ApiError) as raised:
        view.policy_text(busy.control, PolicyKey("CiliumNetworkPolicy", "default", "d"))
    assert raised.value.status == 404


def test_a_document_on_the_line_of_its_separator() -> None:
    text = "a: 1\n--- {b: 2}\n---\nc: 3\n"
    assert [view.document_at(text, line) for line in (1, 2, 4)] == ["a: 1\n", "{b: 2}\n", "c: 3\n"]


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("nope", 404, "there are endpoints, counters"),
        ("events", 400, "kinety monitor"),
        ("fragments", 404, "map 'fragments' is not there: this agent's options do without it"),
    ],
)
def test_maps_that_have_no_rows(busy: Agent, name: str, status: int, message: str) -> None:
    with pytest.raises(ApiError, match=message) as raised:
        view.map_rows(busy.control, name, None)
    assert raised.value.status == status


def test_rows_up_to_a_limit(busy: Agent) -> None:
    assert view.map_rows(busy.control, "endpoints", None).rows == ({"slot": 0}, {"slot": 1})
    assert view.map_rows(busy.control, "endpoints", 1).rows == ({"slot": 0},)


def test_the_status_adds_up(busy: Agent) -> None:
    status = view.status(busy.control, Path("/state"), 12.5, 3)
    assert (status.pid, status.started, status.subscribers) == (os.getpid(), 12.5, 3)
    assert (status.endpoints, status.policies, status.rules) == (2, 1, 2)
    assert status.identities == len(busy.control.engine.identities)
    assert status.datapath.configuration == Configuration(
        ipv4=True, ipv6=True, events="flows", shadow=True, fragments=True, hooks=True
    )
    assert (status.pools[0].used, status.pools[0].size) == (0, 6)
    assert status.addresses_outside == 4
    assert status.counters[0].reason == "policy-denied"
    assert status.reconciliation == replace(status.reconciliation, state="in-sync", error=None, attempts=0)
    assert 2**20 < status.memory < 2**34


def test_a_refusing_kernel_is_in_the_status(busy: Agent) -> None:
    busy.datapath.failing = "restore"
    busy.control.repair.after(OSError(28, "no space"))
    state = view.status(busy.control, Path("/"), 0.0, 0).reconciliation
    assert (state.state, state.attempts) == ("retrying", 1)
    assert state.error == "no memory for restore (ENOMEM)"
    assert state.retry_seconds == pytest.approx(0.1)
    busy.clock.now += 0.1
    assert busy.control.repair.attempt()
    assert view.status(busy.control, Path("/"), 0.0, 0).reconciliation.state == "in-sync"
