"""The packet tables on nodes that do without something: what is left judges as ever.

What is off is dropped with its reason, or told of by nobody; the counters tell all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from kinety.abi import EventLevel, Redirect
from kinety.model.endpoint import EndpointId
from tests.netns.deployed import GENERATIONS, NEEDS, deployment, values_of
from tests.packet import test_endpoint, test_fragment, test_hook, test_rate, test_shadow
from tests.packet.node import NUMBERS, packet_world
from tests.packet.table import Case, World, play
from tests.packet.test_generations import DeployedWorld
from tests.packet.test_reasons import TABLES

pytestmark = pytest.mark.needs(*NEEDS)

LEAST = {
    "event_level": EventLevel.NONE,
    "shadow": False,
    "fragments": False,
    "hooks": False,
    "bandwidth": False,
    "redirect": Redirect.NONE,
}
NODES: Mapping[str, Mapping[str, Any]] = {
    "no flow events": {"event_level": EventLevel.DROPS},
    "no events": {"event_level": EventLevel.NONE},
    "no shadow": {"shadow": False},
    "no fragments": {"fragments": False},
    "no hooks": {"hooks": False},
    "no bandwidth": {"bandwidth": False},
    "no redirect": {"redirect": Redirect.NONE},
    "no events, no shadow": {"event_level": EventLevel.NONE, "shadow": False},
    "least, IPv4": {"ipv6": False, **LEAST},
    "least, IPv6": {"ipv4": False, **LEAST},
}
#: Maps a node does without, by the setting that says so.
MAPS = {
    "shadow": {"shadow_counters", "shadow_scratch", "lost_shadows"},
    "fragments": {"fragments"},
    "hooks": {"hooks", "hook_counters"},
    "bandwidth": {"rates"},
    "redirect": {"listeners", "lookups"},
}
EVENTS = {"events", "lost_events"}
#: Tables about what a setting is for.
ABOUT = {
    "shadow": test_shadow.CASES,
    "fragments": test_fragment.CASES,
    "hooks": test_hook.CASES,
    "bandwidth": test_rate.CASES,
}


def cases(settings: Mapping[str, Any]) -> list[Case]:
    """The tables of what such a node has, and those of what it does not."""
    off = [table for setting, table in ABOUT.items() if not settings.get(setting, True)]
    chosen = [case for each in TABLES if each not in off for case in each]
    if not settings.get("fragments", True):
        chosen = [case for case in chosen if "in fragments" not in case.name] + test_fragment.OFF
    for family, other in (("ipv4", ("IPv4", "ARP")), ("ipv6", ("IPv6", "ND"))):
        if not settings.get(family, True):
            chosen = [case for case in chosen if not case.name.startswith(other)]
    return chosen


@pytest.fixture(scope="module", params=NODES)
def less(request: pytest.FixtureRequest) -> Iterator[World]:
    """The node of `tests.packet.node` without something."""
    with packet_world(**NODES[request.param]) as made:
        yield made


def test_what_is_left_judges_as_ever(less: World, request: pytest.FixtureRequest) -> None:
    settings = NODES[request.node.callspec.params["less"]]
    tables = cases(settings)
    assert len(tables) > 60
    for table in tables:
        play(less, table)


def test_maps_of_what_is_off_are_not_there(less: World) -> None:
    settings, pins = less.node.settings, less.node.settings.pins
    gone = set(EVENTS) if settings.event_level == EventLevel.NONE else set()
    gone = gone.union(*(maps for name, maps in MAPS.items() if not getattr(settings, name)))
    pinned = {path.name for path in pins.glob("contract-*/maps/*")}
    assert pinned.isdisjoint(gone)
    assert pinned >= EVENTS.union(*MAPS.values()) - gone
    assert less.node.datapath is not None
    assert {each.name for each in less.node.datapath.statistics().maps} == pinned


def test_what_is_off_is_dropped_with_its_reason(less: World) -> None:
    for family in (4, 6):
        if not getattr(less.node.settings, f"ipv{family}"):
            for table in test_endpoint.OFF[family]:
                play(less, table)


@pytest.mark.parametrize("name", GENERATIONS)
def test_every_generation_can_do_without(name: str) -> None:
    """Over a node's maps that are fewer; nobody makes those that are missing for an endpoint."""
    generation = GENERATIONS[name]()
    with packet_world(**LEAST) as world, deployment(world.node) as deployed:
        for number in NUMBERS.values():
            world.node.run(deployed.deploy, values_of(world.node, number), generation)
        own = {"rodata": 2 * len(NUMBERS), "resident": 1}.get(name, 0)
        assert deployed.memory().maps == own
        played = DeployedWorld(world, deployed)
        for table in cases(LEAST):
            play(played, table)
        held = {
            each
            for number in NUMBERS.values()
            for program in deployed.programs(EndpointId(number)).values()
            for each in program.map_ids()
        }
        assert len(held) == len(world.node.datapath.statistics().maps) + own
