"""What the verifier and the kernel's memory pay for the programs, and that a node pays only for what it uses.

The budget is what they cost when it was set, and some fifteen parts in a hundred more; whoever needs
more says so here. How large the machine's own code is depends on the machine: that is compared with
itself only.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from kinety.abi import EventLevel
from kinety.datapath.template import FROM_ENDPOINT, PROGRAMS, TO_ENDPOINT, packaged_object
from kinety.kernel.collection import Collection
from kinety.kernel.program import ProgramInfo
from kinety.kernel.spec import CollectionSpec

pytestmark = pytest.mark.needs("root", "bpf", "objects")

#: Instructions the verifier walks through, and bytes of the program after it.
BUDGET = {FROM_ENDPOINT: (11_200, 41_000), TO_ENDPOINT: (9_000, 32_000)}
#: The verifier refuses a program of a million instructions walked through (BPF_COMPLEXITY_LIMIT_INSNS).
VERIFIER_LIMIT = 1_000_000
SMALL_MAPS = {"conntrack": 1024, "endpoints": 16, "rule_sets": 16}
#: Settings of a node that need less than everything.
FEWER: dict[str, Mapping[str, int]] = {
    "no IPv4": {"config_ipv4": 0},
    "no IPv6": {"config_ipv6": 0},
    "neither": {"config_ipv4": 0, "config_ipv6": 0},
    "no events of new flows": {"config_event_level": EventLevel.DROPS},
    "no events": {"config_event_level": EventLevel.NONE},
    "no shadow": {"config_shadow": 0},
    "no fragments": {"config_fragments": 0},
    "no bandwidth": {"config_bandwidth": 0},
    "no redirect": {"config_redirect": 0},
}
#: Less code is not always less to walk through: without an event two ways may be alike a step later.
ALIKE_LATER = ("no events of new flows", "no events")


@contextmanager
def loaded(constants: Mapping[str, int]) -> Iterator[Mapping[str, ProgramInfo]]:
    """The programs with these constants, by name."""
    spec = CollectionSpec.parse(packaged_object())
    with Collection.load(spec, constants=constants, max_entries=SMALL_MAPS) as collection:
        yield {name: collection.programs[name].info for name in PROGRAMS}


def test_the_programs_stay_within_their_budget() -> None:
    with loaded({}) as programs:
        for name, (verified, size) in BUDGET.items():
            assert 0 < programs[name].verified_instructions <= verified, name
            assert 0 < programs[name].translated_bytes <= size, name
            assert programs[name].jited_bytes, f"{name} is interpreted"


def test_the_budget_is_far_from_the_verifiers_limit() -> None:
    assert max(verified for verified, _ in BUDGET.values()) * 20 < VERIFIER_LIMIT


@pytest.mark.parametrize("what", FEWER)
def test_a_node_pays_only_for_what_it_uses(what: str) -> None:
    with loaded({}) as full, loaded(FEWER[what]) as less:
        for name in PROGRAMS:
            if what not in ALIKE_LATER:
                assert less[name].verified_instructions < full[name].verified_instructions
            assert less[name].verified_instructions <= BUDGET[name][0]
            assert less[name].translated_bytes < full[name].translated_bytes
            assert less[name].jited_bytes < full[name].jited_bytes


def test_two_families_cost_more_than_either() -> None:
    with loaded(FEWER["no IPv4"]) as ipv6, loaded(FEWER["no IPv6"]) as ipv4, loaded(FEWER["neither"]) as none:
        for name in PROGRAMS:
            assert none[name].translated_bytes < min(ipv4[name].translated_bytes, ipv6[name].translated_bytes)
