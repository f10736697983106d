"""The examples' scenarios with real packets and a real agent, its endpoints deployed by each generation."""

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kinety import abi
from kinety.cli.documents import read_documents
from kinety.datapath.generations.deployment import Deployment
from kinety.datapath.generations.values import Values
from kinety.kernel.map import Map
from kinety.kernel.program import run_time_counted
from kinety.policy.document import Document
from kinety.testing import live, offline
from kinety.testing.lab import Lab, lab
from kinety.testing.parse import parse_scenarios
from kinety.testing.scenario import Scenario
from tests.feature import ROOT
from tests.netns.deployed import GENERATIONS, NEEDS

pytestmark = pytest.mark.needs(*NEEDS, "ipv6")

EXAMPLES = sorted((ROOT / "examples").glob("*/scenario.yaml"))


def scenarios(path: Path) -> tuple[Scenario, ...]:
    def policy(scenario: str, name: str) -> Document:
        (document,) = read_documents([str(Path(scenario).parent / name)])
        return document

    return parse_scenarios(read_documents([str(path)]), policy)


@contextmanager
def deployed(built: Lab, name: str) -> Iterator[Deployment]:
    """Programs of a generation before the agent's, at every interface that the agent has made."""
    with ExitStack() as stack:
        (pins,) = built.pins.glob("contract-*/maps")
        maps = {path.name: stack.enter_context(Map.open(path)) for path in pins.iterdir()}
        rows = {
            int.from_bytes(slot, "little"): abi.Endpoint.unpack(row)
            for slot, row in maps["endpoints"].items()
        }
        attached = {slot: row for slot, row in rows.items() if row.interface}
        (base,) = {row.interface - slot for slot, row in attached.items()}
        made = built.node.call(lambda: Deployment(maps, {"config_interface_base": base}))
        stack.callback(built.node.call, made.close)
        generation = GENERATIONS[name]()
        for row in attached.values():
            built.node.call(functools.partial(made.deploy, Values.of(row), generation))
        yield made


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
@pytest.mark.parametrize("name", GENERATIONS)
def test_scenarios_come_out_as_planned(name: str, path: Path) -> None:
    for scenario in scenarios(path):
        with lab() as built, run_time_counted():
            built.start_agent(*(f"--node-label={each.key}={each.value}" for each in sorted(scenario.node)))
            namespaces = live.deploy(built, scenario)
            with deployed(built, name) as made:
                assert len(made) == len(scenario.endpoints)
                results = list(live.probe_all(built, scenario, namespaces))
                programs = made.programs(scenario.endpoints[0].endpoint.id)
                assert programs["from_endpoint"].statistics().runs, "it was these programs that judged"
        assert results == list(offline.run(scenario))
        assert all(result.ok for result in results)
