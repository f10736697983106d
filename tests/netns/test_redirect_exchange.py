"""The next agent has another redirect: what the former one had for its own is gone, and policy goes on."""

import itertools
import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from kinety.abi import Redirect
from kinety.datapath.template import contract_directory
from kinety.model.endpoint import EndpointId
from kinety.plan.change import Snapshot
from tests.netns.conftest import REDIRECTS
from tests.netns.datapath_node import ANSWER_SECONDS, Node, address, plan
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
    redirect_lab,
    talking,
)

pytestmark = pytest.mark.needs(*NEEDS)

PLANS = {EndpointId(CLIENT): plan(ALLIANCE, egress="egress"), EndpointId(SERVER): plan(EMPIRE)}
#: Whose pins there are.
OWN = {
    Redirect.SK_ASSIGN: {"proxy"},
    Redirect.TPROXY: set(),
    Redirect.NAT: {"proxy", "nat"},
    Redirect.SOCKMAP: {"proxy", "sockmap"},
}


def exchange(lab: Node, redirect: Redirect) -> None:
    lab.forget()
    lab.settings = replace(lab.settings, redirect=redirect)
    lab.open(Snapshot({}, SETS, CLASSES, {}, PLANS), PLANS)


def pinned(lab: Node) -> set[str]:
    home = contract_directory(lab.settings.pins)
    return {name for name in ("proxy", "nat", "sockmap") if (home / name).exists()}


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
            assert pinned(lab) == OWN[before]
            exchange(lab, after)
            assert pinned(lab) == OWN[after]
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


@pytest.mark.needs("btf")
def test_what_sockmap_carried_goes_by_packets_under_the_next_redirect() -> None:
    """Also on connections that are there, whose sockets keep the program."""
    with redirect_lab(redirect=Redirect.SOCKMAP) as lab:
        lab.put(PLANS)
        with (
            both_proxies(lab),
            talking(lab.endpoints["client"], lab.endpoints["server"], address(SERVER, 4)) as talk,
        ):
            for _ in range(3):
                assert talk.works()
            exchange(lab, Redirect.SK_ASSIGN)
            assert seen(lab, talk)


def seen(lab: Node, talk: Talk) -> bool:
    """Whether what the client says passes its interface as a packet."""
    with lab.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as ear:
        ear.bind(("kinety2", 3))
        ear.settimeout(ANSWER_SECONDS)
        talk.client.sendall(b"a word that nobody else says")
        assert talk.server.recv(100) == b"a word that nobody else says"
        try:
            while True:
                if b"a word that nobody else says" in ear.recv(65536):
                    return True
        except TimeoutError:
            return False
