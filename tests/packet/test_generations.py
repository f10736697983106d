"""The same packet tables for all four generations: whoever made the programs, the answer is the same."""

from collections.abc import Iterator, Mapping

import pytest

from kinety.datapath.generations.deployment import Deployment
from kinety.kernel.program import Program, TestRun
from kinety.model.endpoint import EndpointId
from tests.netns.deployed import GENERATIONS, NEEDS, deployment, values_of
from tests.packet import test_endpoint
from tests.packet.node import CLIENT, NUMBERS, packet_world
from tests.packet.table import MARK, Case, World, play
from tests.packet.test_budget import BUDGET
from tests.packet.test_reasons import TABLES

pytestmark = pytest.mark.needs(*NEEDS)

CASES = [case for table in TABLES for case in table]


class DeployedWorld(World):
    """A world whose packets meet the programs of the endpoint whose interface they are at."""

    def __init__(self, world: World, deployed: Deployment) -> None:
        """Of a world, with its endpoints deployed."""
        super().__init__(world.node, world._others, world._rules)
        for name, number in NUMBERS.items():
            self.name(name, number)
        self._deployed = deployed
        self._by_interface = {self.index(name): EndpointId(number) for name, number in NUMBERS.items()}

    def programs(self, name: str) -> Mapping[str, Program]:
        """What an endpoint is judged by."""
        return self._deployed.programs(EndpointId(NUMBERS[name]))

    def run(self, program: str, data: bytes, interface: int, came_in: int, repeat: int = 1) -> TestRun:
        """At an interface that is nobody's runs what was made for another."""
        endpoint = self._by_interface.get(interface, EndpointId(CLIENT))
        chosen = self._deployed.programs(endpoint)[program]
        return self.node.run(
            chosen.test_run, data, ifindex=interface, ingress_ifindex=came_in, mark=MARK, repeat=repeat
        )


@pytest.fixture(scope="module", params=GENERATIONS)
def deployed_world(request: pytest.FixtureRequest) -> Iterator[DeployedWorld]:
    """The node of `tests.packet.node`, every endpoint deployed by one generation."""
    generation = GENERATIONS[request.param]()
    with packet_world() as world, deployment(world.node) as deployed:
        for number in NUMBERS.values():
            world.node.run(deployed.deploy, values_of(world.node, number), generation)
        yield DeployedWorld(world, deployed)


@pytest.mark.parametrize("table", CASES, ids=str)
def test_every_generation_gives_the_tables_answer(deployed_world: DeployedWorld, table: Case) -> None:
    play(deployed_world, table)


def test_the_verifier_walks_hardly_further_than_through_the_resident_programs(
    deployed_world: DeployedWorld,
) -> None:
    """The budget of `test_budget` and a twentieth: numbers that it knows take their own ways, too."""
    for name, program in deployed_world.programs("client").items():
        assert 0 < program.info.verified_instructions <= BUDGET[name][0] * 1.05, name


@pytest.mark.parametrize("name", GENERATIONS)
def test_a_family_that_the_node_does_not_use(name: str) -> None:
    generation = GENERATIONS[name]()
    for family in (4, 6):
        with packet_world(**{f"ipv{family}": False}) as world, deployment(world.node) as deployed:
            for number in NUMBERS.values():
                world.node.run(deployed.deploy, values_of(world.node, number), generation)
            for table in test_endpoint.OFF[family]:
                play(DeployedWorld(world, deployed), table)
