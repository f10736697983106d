"""What only the redirect ``tproxy`` has: a table of nftables, which others may remove."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from kinety.abi import Redirect
from kinety.datapath.redirection import NFT_TABLE, UNLED
from kinety.datapath.template import contract_directory
from kinety.model.layer7 import Layer7Id
from kinety.plan.change import Snapshot
from tests.netns.datapath_node import (
    HOST,
    SILENCE_SECONDS,
    Node,
    address,
    listening,
    plan,
    refused,
    rule_sets,
    socket_to,
)
from tests.netns.redirect_lab import (
    ALLIANCE,
    CLIENT,
    EMPIRE,
    NEEDS,
    PORT,
    PORTS,
    SERVER,
    SETS,
    both_proxies,
    families,
    redirect_lab,
    talking,
    to_proxy,
)
from tests.netns.splice_proxy import splicing

pytestmark = pytest.mark.needs(*NEEDS)


@pytest.fixture
def lab() -> Iterator[Node]:
    with redirect_lab(redirect=Redirect.TPROXY) as built:
        built.put({CLIENT: plan(ALLIANCE, egress="egress")})
        yield built


def table(lab: Node) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(lab.command("nft", "-j", "list", "table", "inet", NFT_TABLE))[
        "nftables"
    ]
    return found


def led(lab: Node) -> set[int]:
    """Ports that the table leads to."""
    [elements] = [each["map"].get("elem", []) for each in table(lab) if "map" in each]
    return {port for _, port in elements}


def test_no_program_is_asked_for_sockets_and_its_map_is_not_made(lab: Node) -> None:
    home = contract_directory(lab.settings.pins)
    assert not (home / "proxy").exists()
    assert not [path for path in home.rglob("*") if path.name == "listeners"]
    assert led(lab) == set(PORTS.values())


@families
def test_a_listener_more_is_led_to(lab: Node, family: int) -> None:
    third = Layer7Id("third")
    lab.ports[third] = 10003
    lab.put({CLIENT: plan(ALLIANCE, egress="third")}, rule_sets=rule_sets(third=to_proxy(third)))
    assert led(lab) == {*PORTS.values(), 10003}
    with (
        splicing(lab.namespace, 10003) as proxy,
        talking(lab.endpoints["client"], lab.endpoints["server"], address(SERVER, family)) as talk,
    ):
        assert talk.works()
        assert talk.refuses()
        [accepted] = proxy.accepted
        assert accepted.identity == ALLIANCE


@families
def test_without_its_rules_nothing_gets_to_another_host_or_endpoint(lab: Node, family: int) -> None:
    """Somebody flushes them. Routing drops what nftables has not seen; the next listener brings them back."""
    where = address(SERVER, family)
    with both_proxies(lab), listening(lab.endpoints["server"], where, PORT) as listener:
        lab.command("nft", "delete", "table", "inet", NFT_TABLE)
        assert refused(lab.endpoints["client"], where, PORT)
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
        lab.ports[Layer7Id("third")] = 10003
        lab.put({})
    assert led(lab) == {*PORTS.values(), 10003}
    with both_proxies(lab), talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
        assert talk.works()
        assert talk.refuses()


def test_the_next_agent_brings_the_rules_back(lab: Node) -> None:
    lab.command("nft", "delete", "table", "inet", NFT_TABLE)
    plans = {SERVER: plan(EMPIRE), CLIENT: plan(ALLIANCE, egress="egress")}
    lab.forget()
    lab.open(Snapshot({}, SETS, {}, {}, plans), plans)  # type: ignore[arg-type]
    assert led(lab) == set(PORTS.values())


def test_a_port_where_nobody_listens_leads_nowhere(lab: Node) -> None:
    """The program says so before nftables would; here that is asked as if the listener had just gone."""
    with (
        socket_to(lab.namespace, HOST[4], socket.SOCK_STREAM) as of_the_node,
        listening(lab.namespace, "0.0.0.0", PORT) as listener,
    ):
        of_the_node.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, UNLED.mark)
        of_the_node.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 3)
        of_the_node.settimeout(SILENCE_SECONDS)
        with pytest.raises(TimeoutError):
            of_the_node.connect((HOST[4], PORT))
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
