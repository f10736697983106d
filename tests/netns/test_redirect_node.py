"""What the node has for the sake of proxies, and how they go with everything else that it does."""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from kinety import abi
from kinety.abi import Redirect
from kinety.datapath.cleanup import cleanup
from kinety.datapath.host import UNSELECTED
from kinety.datapath.redirection import NFT_TABLE, ROUTING_TABLE
from kinety.datapath.template import contract_directory
from kinety.kernel.link import Link
from kinety.kernel.namespace import Namespace
from kinety.model.host_port import HostPort
from kinety.plan.change import Change, EndpointPlan, RuleSetId, Snapshot
from tests.netns.datapath_node import (
    ANSWER_SECONDS,
    HOST,
    OUTSIDE,
    Node,
    address,
    endpoint,
    listening,
    node,
    plan,
    refused,
    rule_sets,
    socket_to,
    tcp,
    wait_until,
)
from tests.netns.redirect_lab import (
    ALLIANCE,
    ALLIANCE_CLASS,
    CLIENT,
    EGRESS,
    EMPIRE,
    EMPIRE_CLASS,
    HOST_IDENTITY,
    INGRESS,
    NEEDS,
    PORT,
    PORTS,
    SERVER,
    SETS,
    WORLD,
    Proxies,
    Talk,
    both_proxies,
    counted,
    families,
    redirect_lab,
    talking,
    to_proxy,
)

pytestmark = pytest.mark.needs(*NEEDS)

CONF = Path("/proc/sys/net/ipv4/conf")
HOST_PORT = 9090


@pytest.fixture
def lab(redirect: Redirect) -> Iterator[Node]:
    with redirect_lab(redirect=redirect) as built:
        yield built


@pytest.fixture
def proxies(lab: Node) -> Iterator[Proxies]:
    with both_proxies(lab) as made:
        yield made


def routing(lab: Node) -> str:
    """Rules, the table, and the nftables."""
    words = [["ip", family, "rule"] for family in ("-4", "-6")]
    words += [["ip", family, "route", "show", "table", "all"] for family in ("-4", "-6")]
    return "\n".join(lab.command(*each) for each in [*words, ["nft", "list", "tables"]])


def read(lab: Node, path: Path) -> str:
    return lab.run(path.read_text).strip()


def test_nothing_is_there_before_the_first_listener_and_after_the_cleanup() -> None:
    with node() as built:
        built.open()
        built.attach("server", SERVER)
        built.put({SERVER: plan(EMPIRE)})
        before = routing(built)
        assert NFT_TABLE not in before
        assert "fwmark" not in before
        built.ports = dict(PORTS)
        built.put({SERVER: plan(EMPIRE, ingress="ingress")}, rule_sets=SETS)
        there = routing(built)
        assert there.count("fwmark 0x200/0xf00") == 4
        assert there.count("fwmark 0x600/0xf00") == 2
        assert there.count(f"table {ROUTING_TABLE}") == 2
        assert NFT_TABLE in there
        assert read(built, CONF / "kinety1/accept_local") == "1"
        built.forget()
        built.run(cleanup, built.settings)
        after = routing(built)
        assert NFT_TABLE not in after
        assert "fwmark" not in after
        assert f"table {ROUTING_TABLE}" not in after


def test_without_redirects_what_is_to_be_led_is_dropped() -> None:
    with redirect_lab(redirect=abi.Redirect.NONE) as built, both_proxies(built) as proxies:
        before = routing(built)
        built.put({SERVER: plan(EMPIRE, ingress="ingress")})
        assert refused(built.endpoints["client"], address(SERVER, 4), PORT)
        assert counted(built, abi.Reason.PROXY_UNAVAILABLE)
        assert routing(built) == before
        assert "fwmark" not in before
        assert not any(proxy.accepted for proxy in proxies.values())


def test_what_counted_for_all_interfaces_goes_on_to_count_for_each() -> None:
    """But for that of the loopback address, by which proxies answer proxies."""
    with node() as built:
        for name, value in (("all", "1"), ("uplink", "2"), ("lo", "1"), ("default", "0")):
            built.run((CONF / name / "rp_filter").write_text, value)
        built.ports = dict(PORTS)
        built.open()
        built.attach("server", SERVER)
        built.put({SERVER: plan(EMPIRE)}, rule_sets=SETS)
        built.attach("client", CLIENT)
        found = {name: read(built, CONF / name / "rp_filter") for name in ("all", "uplink", "lo", "default")}
        assert found == {"all": "0", "uplink": "2", "lo": "0", "default": "1"}
        assert {read(built, CONF / f"kinety{number}/rp_filter") for number in (1, 2)} == {"0"}


def test_ports_that_sockets_may_choose_are_widened_at_their_end() -> None:
    with node(proxy_source_ports=(61000, 62000)) as built:
        range_of_ports = Path("/proc/sys/net/ipv4/ip_local_port_range")
        built.run(range_of_ports.write_text, "20000 30000")
        built.ports = dict(PORTS)
        built.open()
        built.put({}, rule_sets=SETS)
        assert read(built, range_of_ports).split() == ["20000", "62000"]


@families
def test_who_comes_later_is_served_as_well(lab: Node, proxies: Proxies, family: int) -> None:
    lab.attach("newcomer", 20)
    lab.put({20: plan(EMPIRE, ingress="ingress")})
    with talking(lab.namespace, lab.endpoints["newcomer"], address(20, family)) as talk:
        assert talk.works()
        assert talk.refuses()


@pytest.mark.parametrize("redirect", [Redirect.SK_ASSIGN])
def test_another_version_of_the_program_takes_its_place(lab: Node, proxies: Proxies) -> None:
    [pin] = (contract_directory(lab.settings.pins) / "proxy").iterdir()
    with Link.open(pin) as link:
        before = link.info
    lab.forget()
    pin.rename(pin.with_name("0" * 16))
    plans = {SERVER: plan(EMPIRE, ingress="ingress"), CLIENT: plan(ALLIANCE)}
    lab.open(Snapshot({}, SETS, {}, {}, plans), plans)  # type: ignore[arg-type]
    assert [each.name for each in pin.parent.iterdir()] == [pin.name]
    with Link.open(pin) as link:
        assert (link.info.id, link.info.program_id != before.program_id) == (before.id, True)


@families
def test_listeners_that_flows_have_a_part_in_are_known(lab: Node, proxies: Proxies, family: int) -> None:
    assert lab.datapath is not None
    assert lab.datapath.flows.ports() == {}
    lab.put({SERVER: plan(EMPIRE, ingress="ingress")})
    with talking(lab.endpoints["client"], lab.endpoints["server"], address(SERVER, family)) as talk:
        assert talk.works()
        assert lab.datapath.flows.ports() == {PORTS[INGRESS]: 2}, "the client's, and the proxy's own"
        lab.put({CLIENT: plan(ALLIANCE, egress="egress"), SERVER: plan(EMPIRE)})
        assert lab.datapath.flows.ports() == {PORTS[INGRESS]: 2}, "policy alone ends nothing"
        with talking(lab.endpoints["client"], lab.endpoints["server"], address(SERVER, family)) as other:
            assert other.works()
            assert lab.datapath.flows.ports() == {PORTS[INGRESS]: 2, PORTS[EGRESS]: 2}
            assert lab.datapath.flows.led() == {PORTS[INGRESS]: 1, PORTS[EGRESS]: 1}


@families
def test_a_client_beyond_the_endpoints_may_be_silent_for_long(
    lab: Node, proxies: Proxies, family: int
) -> None:
    """What it is answered passes no program; the connection is not taken for one that never came about."""
    lab.put({SERVER: plan(EMPIRE, ingress="ingress")})
    with talking(lab.namespace, lab.endpoints["server"], address(SERVER, family)) as talk:
        assert talk.works()
        assert silence(lab, 300) == 2
        assert talk.works()
    assert lab.datapath is not None
    wait_until(partial(closed, lab), 20.0)


def silence(lab: Node, seconds: int) -> int:
    """As if all flows had been silent for so long; returns how many there are."""
    assert lab.datapath is not None
    conntrack = lab.datapath._template.maps["conntrack"]
    items = list(conntrack.items())
    for key, value in items:
        entry = abi.ConntrackEntry.unpack(value)
        conntrack.update(key, replace(entry, last_seen=max(entry.last_seen - seconds, 0)).pack())
    return len(items)


def closed(lab: Node) -> bool:
    """Whether every flow is known to have ended: it lives on for some seconds only."""
    silence(lab, abi.CONSTANTS["config_tcp_closing"].default + 1)
    assert lab.datapath is not None
    return lab.datapath.flows.ports() == {}


@families
def test_flows_that_are_led_nowhere_know_nothing_of_it(lab: Node, proxies: Proxies, family: int) -> None:
    where = address(SERVER, family)
    lab.put({SERVER: plan(EMPIRE, ingress="guard")}, rule_sets=rule_sets(guard=tcp(ALLIANCE_CLASS, PORT)))
    with talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
        assert talk.works()
        assert talk.hears()
    assert refused(lab.namespace, where, PORT)
    assert not any(proxy.accepted for proxy in proxies.values())


def select_node(lab: Node, ingress: str | None, egress: str | None = None) -> None:
    """Policy about the node's own packets."""
    selected = EndpointPlan(
        HOST_IDENTITY,
        None if egress is None else RuleSetId(egress),
        None if ingress is None else RuleSetId(ingress),
        HOST_IDENTITY,
        HOST_IDENTITY,
    )
    tables = rule_sets(alliance=tcp(ALLIANCE_CLASS, PORT), empire=tcp(EMPIRE_CLASS, PORT))
    lab.apply(Change(rule_sets=tables, host=selected))


@families
@pytest.mark.needs("netfilter", "btf")
def test_policy_about_the_node_judges_what_a_proxy_sends_to_it_as_its_clients(
    lab: Node, proxies: Proxies, family: int
) -> None:
    lab.put({CLIENT: plan(ALLIANCE, egress="egress")})
    select_node(lab, ingress="alliance")
    with talking(lab.endpoints["client"], lab.namespace, HOST[family]) as talk:
        assert talk.works()
        assert talk.refuses()
        select_node(lab, ingress="empire")
        talk.client.sendall(b"question")
        talk.server.settimeout(0.3)
        with pytest.raises(TimeoutError):
            talk.server.recv(100)
    lab.apply(Change(host=UNSELECTED))


@families
@pytest.mark.needs("netfilter", "btf")
def test_policy_about_the_node_has_no_say_in_what_proxies_do_for_others(
    lab: Node, proxies: Proxies, family: int
) -> None:
    """It lets the node itself speak to nobody but the empire, and nobody to the node."""
    lab.put({CLIENT: plan(ALLIANCE, egress="egress"), SERVER: plan(EMPIRE, ingress="ingress")})
    select_node(lab, ingress="empire", egress="alliance")
    with talking(lab.endpoints["client"], lab.endpoints["server"], address(SERVER, family)) as talk:
        assert talk.works()
        assert talk.refuses()
    with talking(lab.endpoints["client"], lab.outside, OUTSIDE[family]) as talk:
        assert talk.works()
    assert refused(lab.namespace, address(SERVER, family), PORT)
    lab.apply(Change(host=UNSELECTED))


def publish(lab: Node) -> None:
    """A port of the node leads to the server's."""
    assert lab.datapath is not None
    interface = lab.datapath.interface(endpoint("server", SERVER).id)
    assert interface is not None
    ports = [HostPort.parse(f"{HOST_PORT}:{PORT}/tcp")]
    lab.run(lab.datapath.host_ports.publish, endpoint("server", SERVER), ports, interface.name)


@contextlib.contextmanager
def talking_by_the_host_port(lab: Node, client: Namespace, family: int) -> Iterator[Talk]:
    with socket_to(client, HOST[family], socket.SOCK_STREAM) as asking:
        asking.settimeout(ANSWER_SECONDS)
        with listening(lab.endpoints["server"], address(SERVER, family), PORT) as listener:
            listener.settimeout(ANSWER_SECONDS)
            asking.connect((HOST[family], HOST_PORT))
            answering, peer = listener.accept()
        with answering:
            answering.settimeout(ANSWER_SECONDS)
            yield Talk(asking, answering, peer[:2])


@families
@pytest.mark.parametrize("far", [True, False], ids=["outside", "endpoint"])
def test_by_a_host_port_of_a_server_with_rules(lab: Node, proxies: Proxies, family: int, far: bool) -> None:
    """The destination was rewritten before the proxy, and what it answers is again."""
    lab.put({SERVER: plan(EMPIRE, ingress="ingress")})
    publish(lab)
    with talking_by_the_host_port(lab, lab.outside if far else lab.endpoints["client"], family) as talk:
        assert talk.works()
        assert talk.refuses()
        assert talk.seen[0] == (OUTSIDE[family] if far else address(CLIENT, family))
    [accepted] = proxies[INGRESS].accepted
    assert accepted.destination == (address(SERVER, family), PORT)
    assert accepted.identity == (WORLD[family] if far else ALLIANCE)


@families
@pytest.mark.parametrize("both", [False, True], ids=["egress", "egress+ingress"])
def test_by_a_host_port_of_a_client_with_rules(lab: Node, proxies: Proxies, family: int, both: bool) -> None:
    """The destination is rewritten behind the proxy, and what answers it is again."""
    out = rule_sets(out=to_proxy(EGRESS, port=HOST_PORT))
    lab.put({CLIENT: plan(ALLIANCE, egress="out")}, rule_sets=out)
    lab.put({SERVER: plan(EMPIRE, ingress="ingress" if both else None)})
    publish(lab)
    with talking_by_the_host_port(lab, lab.endpoints["client"], family) as talk:
        assert talk.works()
        assert talk.refuses()
        assert talk.seen[0] == address(CLIENT, family)
    [accepted] = proxies[EGRESS].accepted
    assert accepted.destination == (HOST[family], HOST_PORT)
    assert [each.destination for each in proxies[INGRESS].accepted] == [
        (address(SERVER, family), PORT)
    ] * both
