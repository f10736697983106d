from dataclasses import replace
from pathlib import Path

import pytest

from kinety.agent.attachment import Attachments, default_routes, state_of
from kinety.agent.control import Control
from kinety.agent.store import EndpointRecord
from kinety.api import departure, types
from kinety.api.errors import ApiError, refuse
from tests.unit.agent.conftest import Agent, record


def attached(number: int, container: str, *, network: str = "net") -> EndpointRecord:
    return replace(record(number, container), attachment=types.Attachment(container, network))


def request(container: str, interface: str = "eth0") -> types.EndpointRequest:
    return types.EndpointRequest("x", interface=interface, attachment=types.Attachment(container, "net"))


def endpoints(*records: EndpointRecord) -> dict[tuple[str, str], EndpointRecord]:
    return {(each.endpoint.namespace, each.endpoint.name): each for each in records}


def test_endpoints_are_found_by_container_and_interface(tmp_path: Path) -> None:
    there = endpoints(attached(1, "c1"), record(2, "by-hand"))
    known = Attachments(there, tmp_path)
    there |= endpoints(attached(3, "b2", network="other"))
    known.add(attached(3, "b2", network="other"))
    assert known.of(None) == (attached(3, "b2", network="other"), attached(1, "c1"))
    assert known.of("net") == (attached(1, "c1"),)
    assert known.find("c1", "eth0") == attached(1, "c1")
    for key in (("c1", "net1"), ("by-hand", "eth0"), ("", "eth0")):
        with pytest.raises(ApiError) as raised:
            known.find(*key)
        assert raised.value.status == 404


def test_a_container_has_all_its_endpoints(tmp_path: Path) -> None:
    second = replace(attached(2, "c1"), interface="net1")
    second = replace(second, endpoint=replace(second.endpoint, name="c1-net1"))
    there = endpoints(attached(1, "c1"), second, attached(3, "c3"))
    known = Attachments(there, tmp_path)
    assert set(known.of_container("c1")) == {attached(1, "c1"), second}
    del there["default", "c1"]
    assert known.of_container("c1") == (second,)
    assert known.of_container("c4") == ()


def test_what_is_gone_is_not_found_though_nobody_said_so(tmp_path: Path) -> None:
    there = endpoints(attached(1, "c1"), attached(2, "c2"))
    known = Attachments(there, tmp_path)
    del there["default", "c1"]
    there["default", "c2"] = replace(attached(3, "c2"), attachment=types.Attachment("another", "net"))
    for container in ("c1", "c2"):
        known.require_free(request(container))
        with pytest.raises(ApiError, match="no interface eth0"):
            known.find(container, "eth0")


def test_the_index_does_not_grow_with_what_is_gone(tmp_path: Path) -> None:
    there: dict[tuple[str, str], EndpointRecord] = {}
    known = Attachments(there, tmp_path)
    for number in range(1, 200):
        own = attached(number, f"c{number}")
        there.clear()
        there |= endpoints(own)
        known.add(own)
        assert known.find(f"c{number}", "eth0") == own
    assert len(known._names) <= 3


def test_a_container_has_one_interface_of_a_name(tmp_path: Path) -> None:
    known = Attachments(endpoints(attached(1, "c1")), tmp_path)
    known.require_free(request("c1", "net1"))
    known.require_free(types.EndpointRequest("x"))
    with pytest.raises(ApiError, match="c1 has an interface eth0 already, endpoint default/c1") as raised:
        known.require_free(request("c1"))
    assert raised.value.status == 409


def test_departures_end_once_and_those_that_fail_wait(tmp_path: Path) -> None:
    for container in ("broken", "c1", "refused", "unknown"):
        departure.leave(tmp_path, container, "eth0")
    ended = []

    def detach(container: str, interface: str) -> None:
        ended.append(container)
        if container == "broken":
            raise OSError(12, "no memory")
        if container in ("refused", "unknown"):
            raise refuse(503 if container == "refused" else 404, "no")

    Attachments({}, tmp_path).end_departed(detach)
    assert ended == ["broken", "c1", "refused", "unknown"]
    assert departure.waiting(tmp_path) == (("broken", "eth0"), ("refused", "eth0"))


def test_a_new_attachment_has_nothing_to_do_with_a_former_departure(tmp_path: Path) -> None:
    departure.leave(tmp_path, "c1", "eth0")
    departure.leave(tmp_path, "c1", "net1")
    Attachments({}, tmp_path).add(attached(1, "c1"))
    assert departure.waiting(tmp_path) == (("c1", "net1"),)


def control_of(agent: Agent, own: EndpointRecord) -> Control:
    agent.control.attach(own, None)  # type: ignore[arg-type]
    return agent.control


def test_an_interface_that_is_gone_is_told(agent: Agent) -> None:
    own = attached(1, "c1")
    control = control_of(agent, own)
    agent.datapath.interfaces.clear()
    state = state_of(control, own)
    assert (state.problems, state.default_routes) == (("the node's end of eth0 is gone",), ())
    assert state.endpoint.state == "missing"


def test_a_namespace_that_is_gone_is_told(agent: Agent) -> None:
    own = replace(attached(1, "c1"), netns="/run/netns/no-such-thing")
    (problem,) = state_of(control_of(agent, own), own).problems
    assert problem.startswith("/run/netns/no-such-thing cannot be looked into: ")


def test_a_plan_that_the_kernel_does_not_hold_is_told(agent: Agent) -> None:
    own = attached(1, "c1")
    control = control_of(agent, own)
    control.repair.error = "no memory"
    assert "the kernel does not hold the plan in force: no memory" in state_of(control, own).problems


ROUTE4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
VIA4 = "eth0\t00000000\t0100FEA9\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
NOT4 = "eth0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n"
REST6 = "00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003"
VIA6 = f"{'0' * 32} 00 {'0' * 32} {REST6}     eth0\n"
NOT6 = f"{'0' * 32} 80 {'0' * 32} {REST6}     eth0\n"


class Tables:
    """Stands for a network namespace with these routes."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def call(self, function: object) -> list[str]:
        return list(self.texts)


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ((ROUTE4, ""), ()),
        ((ROUTE4 + VIA4, NOT6), ("0.0.0.0/0",)),
        ((ROUTE4 + NOT4 + VIA4, VIA6), ("0.0.0.0/0", "::/0")),
        ((ROUTE4 + NOT4, NOT6 + VIA6), ("::/0",)),
        ((ROUTE4 + VIA4,), ("0.0.0.0/0",)),
        ((ROUTE4 + VIA4.replace("eth0", "net1"), VIA6.replace("eth0", "net1")), ()),
    ],
)
def test_default_routes_are_those_through_the_interface(
    texts: tuple[str, ...], found: tuple[str, ...]
) -> None:
    assert default_routes(Tables(*texts), "eth0") == found  # type: ignore[arg-type]
