from collections.abc import Mapping, Set
from unittest.mock import patch

from kinety.datapath.live_flows import LiveFlow
from kinety.model.address import pack_address
from tests.unit.agent.conftest import Agent, files
from tests.unit.agent.proxies.test_proxies import CONTENT

SERVER, CLIENT, OUTSIDE = map(pack_address, ("10.0.0.1", "10.0.0.2", "192.0.2.9"))
TEXT = CONTENT.replace("PORT", "80")


def applied(agent: Agent, *flows: LiveFlow) -> tuple[str, ...]:
    agent.datapath.flows.open = list(flows)
    return agent.control.apply(files("one", text=TEXT)).warnings


def test_flows_that_are_open_are_counted_and_said_to_be_reset(busy: Agent) -> None:
    (said,) = applied(
        busy,
        LiveFlow(CLIENT, SERVER, 6, 80, False),
        LiveFlow(OUTSIDE, SERVER, 6, 80, False),
        LiveFlow(OUTSIDE, SERVER, 6, 80, False),
        LiveFlow(OUTSIDE, SERVER, 6, 81, False),
        LiveFlow(SERVER, OUTSIDE, 6, 80, False),
        LiveFlow(OUTSIDE, SERVER, 1, 80, False),
        LiveFlow(OUTSIDE, SERVER, 6, 80, True),
    )
    assert "flows of 1 endpoint that these rules are about go through a proxy" in said
    assert "; 3 flows open now will be reset" in said


def test_without_open_flows_only_the_endpoints_are_told(busy: Agent) -> None:
    (said,) = applied(busy)
    assert said.endswith("go through a proxy, at several times the cost of passing")


def test_a_rehearsal_tells_the_same_and_changes_nothing(busy: Agent) -> None:
    busy.datapath.flows.open = [LiveFlow(CLIENT, SERVER, 6, 80, False)]
    before = busy.held()
    rehearsed = busy.control.rehearse(files("one", text=TEXT)).warnings
    assert busy.held() == before
    assert rehearsed == busy.control.apply(files("one", text=TEXT)).warnings
    assert "; 1 flow open now will be reset" in rehearsed[0]


def test_policies_that_are_not_about_content_cost_nothing(busy: Agent) -> None:
    busy.datapath.flows.open = [LiveFlow(CLIENT, SERVER, 6, 80, False)]
    assert busy.control.apply(files("two")).warnings == ()


def test_flows_are_looked_at_when_the_policy_is_in_force(busy: Agent) -> None:
    """There may be a hundred thousand."""
    in_force: list[bool] = []

    def look(addresses: Set[bytes]) -> Mapping[LiveFlow, int]:
        in_force.append(bool(busy.datapath.ports))
        return {}

    with patch.object(busy.datapath.flows, "of", look):
        applied(busy)
    assert in_force == [True]


def test_flows_that_cannot_be_read_undo_nothing(busy: Agent) -> None:
    with patch.object(busy.datapath.flows, "of", side_effect=OSError("no memory")):
        (said,) = applied(busy)
    assert said == "it cannot be told which open flows go through a proxy now: no memory"
    assert busy.datapath.ports
