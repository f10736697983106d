"""The next agent has another redirect: what the former one had for its own is gone, and policy goes on."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from kinety.abi import Reason, Redirect
from kinety.datapath.proxy_cgroup import proxy_cgroup
from kinety.datapath.template import contract_directory
from kinety.model.endpoint import EndpointId
from kinety.plan.change import Snapshot
from tests.netns.conftest import REDIRECTS
from tests.netns.datapath_node import Node, address, plan
from tests.netns.redirect_lab import (
    ALLIANCE,
    CLASSES,
    CLIENT,
    EMPIRE,
    NEEDS,
    SERVER,
    SETS,
    Talk,
    both_proxies,
    counted,
    families,
    redirect_lab,
    talking,
)

pytestmark = pytest.mark.needs(*NEEDS, "ip")

PLANS = {EndpointId(CLIENT): plan(ALLIANCE, egress="egress"), EndpointId(SERVER): plan(EMPIRE)}
#: Programs that are attached, by their directories.
OWN = {
    Redirect.SK_ASSIGN: {"proxy"},
    Redirect.TPROXY: set(),
    Redirect.NAT: {"proxy", "nat"},
    Redirect.SOCKMAP: {"proxy", "sockmap"},
}
WORDS = 20


def exchange(lab: Node, redirect: Redirect) -> None:
    """The next agent."""
    lab.forget()
    lab.settings = replace(lab.settings, redirect=redirect)
    lab.open(Snapshot({}, SETS, CLASSES, {}, PLANS), PLANS)


def attached(lab: Node) -> set[str]:
    """Of sockmap, what others carried may still be read; nothing is carried where no sockets meet."""
    home = contract_directory(lab.settings.pins)
    found = {name for name in ("proxy", "nat") if (home / name).exists()}
    return found | ({"sockmap"} if list(home.glob("sockmap/*/meet")) else set())


def judged(act: Callable[[], bool]) -> bool:
    """Whether a word was judged, by an answer or by the end of its connection."""
    try:
        return act()
    except OSError:
        return True


def is_judged_still(talk: Talk) -> bool:
    """The server does not hear what is forbidden, whatever becomes of the connection."""
    refused = judged(talk.refuses)
    talk.server.settimeout(0.1)
    try:
        return refused and talk.server.recv(100) == b""
    except OSError:
        return refused


@pytest.mark.parametrize(
    ("before", "after"),
    list(itertools.permutations(REDIRECTS, 2)),
    ids=lambda each: each.name.lower(),
)
def test_connections_old_and_new_are_judged_and_nothing_of_the_former_stays(
    before: Redirect, after: Redirect
) -> None:
    where = [address(SERVER, family) for family in (4, 6)]
    with redirect_lab(redirect=before) as lab:
        lab.put(PLANS)
        client, server = lab.endpoints["client"], lab.endpoints["server"]
        with both_proxies(lab), talking(client, server, where[0]) as old:
            assert old.works()
            assert attached(lab) == OWN[before]
            exchange(lab, after)
            assert attached(lab) == OWN[after]
            assert is_judged_still(old)
        # Proxies are started anew where the redirect wants them elsewhere, as for `nat` in a cgroup.
        with both_proxies(lab):
            for each in where:
                with talking(client, server, each) as talk:
                    assert talk.works()
                    assert talk.refuses()
        exchange(lab, after)
        assert lab.restoration is not None
        assert lab.restoration.writes == 0
        assert proxy_cgroup(lab.settings.pins).exists() == (after is Redirect.NAT)
        assert ("blackhole" in lab.command("ip", "rule")) == (after is Redirect.TPROXY)


def works(lab: Node) -> bool:
    """A new connection of each family is led to a proxy, which lets through what it should and no more."""
    for family in (4, 6):
        where = address(SERVER, family)
        with (
            both_proxies(lab) as proxies,
            talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk,
        ):
            if not (talk.works() and talk.refuses() and any(each.accepted for each in proxies.values())):
                return False
    return True


@pytest.mark.parametrize("other", [each for each in OWN if each is not Redirect.SK_ASSIGN])
def test_a_redirect_that_was_there_before_works_again(other: Redirect) -> None:
    with redirect_lab(redirect=Redirect.SK_ASSIGN) as lab:
        lab.put(PLANS)
        for redirect in (other, Redirect.SK_ASSIGN, other):
            exchange(lab, redirect)
            assert works(lab), f"{redirect.name}, after another"


@pytest.mark.needs("btf")
@families
def test_what_was_carried_goes_on_by_packets_and_so_does_what_comes_then(family: int) -> None:
    """Also on connections that are there, whose sockets keep the program."""
    where = address(SERVER, family)
    with redirect_lab(redirect=Redirect.SOCKMAP) as lab:
        lab.put(PLANS)
        client, server = lab.endpoints["client"], lab.endpoints["server"]
        with both_proxies(lab), talking(client, server, where) as carried:
            assert carried.works()
            exchange(lab, Redirect.SK_ASSIGN)
            assert all_by_packets(lab, carried)
            assert carried.refuses()
        with both_proxies(lab), talking(client, server, where) as led:
            assert all_by_packets(lab, led)


def all_by_packets(lab: Node, talk: Talk) -> bool:
    """Whether each word is a packet, both ways."""
    before = counted(lab, Reason.FORWARDED_PROXY)
    return all(talk.works() for _ in range(WORDS)) and (
        counted(lab, Reason.FORWARDED_PROXY) - before >= 2 * WORDS
    )
