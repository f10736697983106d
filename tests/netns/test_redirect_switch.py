"""A node whose next agent leads flows to proxies in another way than the last one did."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from kinety.abi import Reason, Redirect
from kinety.datapath.proxy_cgroup import proxy_cgroup
from kinety.datapath.template import contract_directory
from kinety.model.endpoint import EndpointId
from kinety.plan.change import Snapshot
from tests.netns.datapath_node import Node, address, plan
from tests.netns.redirect_lab import (
    ALLIANCE,
    CLASSES,
    CLIENT,
    EMPIRE,
    NEEDS,
    SERVER,
    SETS,
    both_proxies,
    counted,
    families,
    redirect_lab,
    talking,
)

pytestmark = pytest.mark.needs(*NEEDS, "ip", "btf")

PLANS = {EndpointId(SERVER): plan(EMPIRE), EndpointId(CLIENT): plan(ALLIANCE, egress="egress")}
#: Programs that only some redirects have pinned, by their directories.
OWN = {
    Redirect.SK_ASSIGN: {"proxy"},
    Redirect.TPROXY: set(),
    Redirect.NAT: {"proxy", "nat"},
    Redirect.SOCKMAP: {"proxy", "sockmap"},
}
WORDS = 20


@pytest.fixture
def lab() -> Iterator[Node]:
    with redirect_lab(redirect=Redirect.SK_ASSIGN) as built:
        built.put(PLANS)
        yield built


def switch(lab: Node, redirect: Redirect) -> None:
    """The next agent, with another redirect."""
    lab.forget()
    lab.settings = replace(lab.settings, redirect=redirect)
    lab.open(Snapshot({}, SETS, CLASSES, {}, PLANS), PLANS)


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
def test_a_redirect_that_was_there_before_works_again(lab: Node, other: Redirect) -> None:
    for redirect in (other, Redirect.SK_ASSIGN, other):
        switch(lab, redirect)
        assert works(lab), f"{redirect.name}, after another"


def test_each_leaves_nothing_of_its_own_to_the_next(lab: Node) -> None:
    for redirect in (Redirect.NAT, Redirect.TPROXY, Redirect.SOCKMAP, Redirect.SK_ASSIGN):
        switch(lab, redirect)
        home = contract_directory(lab.settings.pins)
        found = {each.name for each in home.iterdir()} & {"proxy", "nat", "sockmap"}
        found -= {"sockmap"} if not list(home.glob("sockmap/*/meet")) else set()
        assert found == OWN[redirect]
        assert proxy_cgroup(lab.settings.pins).exists() == (redirect is Redirect.NAT)
        assert ("blackhole" in lab.command("ip", "rule")) == (redirect is Redirect.TPROXY)


@families
def test_what_was_carried_goes_on_by_packets_and_so_does_what_comes_then(lab: Node, family: int) -> None:
    switch(lab, Redirect.SOCKMAP)
    client, server, where = lab.endpoints["client"], lab.endpoints["server"], address(SERVER, family)
    with both_proxies(lab), talking(client, server, where) as carried:
        assert carried.works()
        switch(lab, Redirect.SK_ASSIGN)
        before = counted(lab, Reason.FORWARDED_PROXY)
        assert all(carried.works() for _ in range(WORDS))
        assert counted(lab, Reason.FORWARDED_PROXY) - before >= 2 * WORDS, "each word is a packet, both ways"
        assert carried.refuses()
    with both_proxies(lab), talking(client, server, where) as led:
        before = counted(lab, Reason.FORWARDED_PROXY)
        assert all(led.works() for _ in range(WORDS))
        assert counted(lab, Reason.FORWARDED_PROXY) - before >= 2 * WORDS, "each word is a packet, both ways"
