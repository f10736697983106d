"""Real packets through the datapath: endpoints, host, outside, both families."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kinety import abi
from kinety.datapath.datapath import Datapath
from kinety.model.address import pack_address
from kinety.model.endpoint import EndpointId
from kinety.model.identity import ClassId, Identity
from kinety.model.rule import RuleId
from kinety.plan.change import CapacityError, Change
from tests.netns.datapath_node import (
    ALLOW,
    ANSWER_SECONDS,
    DENY,
    HOST,
    OUTSIDE,
    SMALL,
    Flow,
    Node,
    address,
    connect,
    echo,
    endpoint,
    listening,
    node,
    plan,
    refused,
    rule_sets,
    socket_to,
    table,
    tcp,
    unanswered,
    wait_until,
)

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

EMPIRE, ALLIANCE = Identity(256), Identity(257)
EMPIRE_CLASS, ALLIANCE_CLASS = ClassId(3), ClassId(4)
CLASSES = {EMPIRE: EMPIRE_CLASS, ALLIANCE: ALLIANCE_CLASS}
SERVER, EMPIRE_CLIENT, ALLIANCE_CLIENT = 11, 12, 13
PORT = 8080
families = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture
def lab() -> Iterator[Node]:
    """A node with a server, a client of the empire and one of the alliance, all without policy."""
    with node() as built:
        built.open()
        for name, number in (("server", SERVER), ("tie", EMPIRE_CLIENT), ("xwing", ALLIANCE_CLIENT)):
            built.attach(name, number)
        built.put(
            {SERVER: plan(EMPIRE), EMPIRE_CLIENT: plan(EMPIRE), ALLIANCE_CLIENT: plan(ALLIANCE)},
            identity_classes=CLASSES,
        )
        yield built


def guard(lab: Node) -> None:
    """The empire alone may connect to the server's port."""
    lab.put({SERVER: plan(EMPIRE, ingress="guard")}, rule_sets=rule_sets(guard=tcp(EMPIRE_CLASS, PORT)))


@families
def test_without_policy_everything_passes(lab: Node, family: int) -> None:
    where = address(SERVER, family)
    with listening(lab.endpoints["server"], where, PORT):
        assert connect(lab.endpoints["tie"], where, PORT)
        assert connect(lab.endpoints["xwing"], where, PORT)


@families
def test_policy_allows_one_class_and_denies_the_other(lab: Node, family: int) -> None:
    guard(lab)
    where = address(SERVER, family)
    with listening(lab.endpoints["server"], where, PORT), listening(lab.endpoints["server"], where, PORT + 1):
        assert connect(lab.endpoints["tie"], where, PORT)
        assert refused(lab.endpoints["xwing"], where, PORT)
        assert refused(lab.endpoints["tie"], where, PORT + 1)
    assert lab.datapath is not None
    counted = lab.run(lab.datapath.rule_counters, [ALLOW.rule, DENY.rule, RuleId(0)])
    assert counted[ALLOW.rule].packets
    assert counted[DENY.rule].packets, "the port that is not allowed falls to the class's own row"
    assert counted[RuleId(0)].packets, "a class that the rule set does not name is denied by default"


@families
def test_egress_policy_is_the_senders(lab: Node, family: int) -> None:
    lab.put({EMPIRE_CLIENT: plan(EMPIRE, egress="out")}, rule_sets=rule_sets(out=tcp(ALLIANCE_CLASS, PORT)))
    with (
        listening(lab.endpoints["server"], address(SERVER, family), PORT),
        listening(lab.endpoints["xwing"], address(ALLIANCE_CLIENT, family), PORT),
    ):
        assert refused(lab.endpoints["tie"], address(SERVER, family), PORT)
        assert connect(lab.endpoints["tie"], address(ALLIANCE_CLIENT, family), PORT)


@families
def test_udp_and_its_answer(lab: Node, family: int) -> None:
    rows = {(EMPIRE_CLASS, 0, 0, 0): DENY, (EMPIRE_CLASS, 24, socket.IPPROTO_UDP, 53): ALLOW}
    lab.put({SERVER: plan(EMPIRE, ingress="dns")}, rule_sets=rule_sets(dns=table(rows)))
    where = address(SERVER, family)
    with socket_to(lab.endpoints["server"], where, socket.SOCK_DGRAM) as server:
        server.bind((where, 53))
        server.settimeout(ANSWER_SECONDS)
        for name, passes in (("tie", True), ("xwing", False)):
            with socket_to(lab.endpoints[name], where, socket.SOCK_DGRAM) as client:
                client.settimeout(ANSWER_SECONDS)
                client.sendto(b"question", (where, 53))
                if not passes:
                    with pytest.raises(TimeoutError):
                        server.recvfrom(100)
                    continue
                data, asker = server.recvfrom(100)
                server.sendto(b"answer", asker)
                assert (data, client.recv(100)) == (b"question", b"answer")


@families
def test_ping_between_endpoints_host_and_outside(lab: Node, family: int) -> None:
    for target in (address(SERVER, family), HOST[family], OUTSIDE[family]):
        assert ping(lab, "tie", target), target
    assert echo(lab.namespace, address(SERVER, family))


@families
def test_host_and_endpoint_reach_each_other(lab: Node, family: int) -> None:
    with listening(lab.namespace, HOST[family], PORT):
        assert connect(lab.endpoints["tie"], HOST[family], PORT)
    with listening(lab.endpoints["server"], address(SERVER, family), PORT):
        assert connect(lab.namespace, address(SERVER, family), PORT)


@families
def test_outside_sees_the_nodes_address(lab: Node, family: int) -> None:
    with listening(lab.outside, OUTSIDE[family], PORT) as server:
        assert connect(lab.endpoints["tie"], OUTSIDE[family], PORT)
        server.settimeout(ANSWER_SECONDS)
        connection, peer = server.accept()
        connection.close()
        assert peer[0] == HOST[family]


@families
def test_an_endpoint_drops_everything_until_its_plan_is_applied(lab: Node, family: int) -> None:
    newcomer = 20
    lab.attach("newcomer", newcomer)
    where = address(newcomer, family)
    with listening(lab.endpoints["newcomer"], where, PORT):
        assert refused(lab.endpoints["tie"], where, PORT)
        assert refused(lab.namespace, where, PORT)
        assert unanswered(lab.endpoints["newcomer"], address(SERVER, family))
        lab.put({newcomer: plan(EMPIRE)})
        assert connect(lab.endpoints["tie"], where, PORT)
        assert connect(lab.namespace, where, PORT)


@families
def test_a_live_flow_obeys_the_flip_at_its_next_packet(lab: Node, family: int) -> None:
    guard(lab)
    where = address(SERVER, family)
    with listening(lab.endpoints["server"], where, PORT) as server:
        flow = Flow(lab, "tie", where, PORT, server)
        assert flow.carries()
        lab.put(
            {SERVER: plan(EMPIRE, ingress="closed")},
            rule_sets=rule_sets(closed=table({(EMPIRE_CLASS, 0, 0, 0): DENY})),
        )
        assert flow.stalls()
        guard(lab)
        wait_until(flow.arrived, 10)  # TCP sends again what was dropped
        assert flow.carries()
        flow.close()


def test_rows_added_to_a_live_rule_set_admit_a_new_class(lab: Node) -> None:
    guard(lab)
    where = address(SERVER, 4)
    added = {"guard": tcp(ALLIANCE_CLASS, PORT).rows}
    with listening(lab.endpoints["server"], where, PORT):
        assert refused(lab.endpoints["xwing"], where, PORT)
        lab.apply(Change(rows=added))
        assert connect(lab.endpoints["xwing"], where, PORT)
        lab.apply(Change(rows_removed={"guard": frozenset(added["guard"])}))
        assert refused(lab.endpoints["xwing"], where, PORT + 1)


def test_a_namespace_with_ipv6_switched_off_gets_its_address_all_the_same(lab: Node) -> None:
    made = lab.namespace_for("quiet")
    made.call(Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text, "1")
    lab.attach("quiet", 40)
    lab.put({40: plan(EMPIRE)})
    with listening(lab.endpoints["server"], address(SERVER, 6), PORT):
        assert connect(made, address(SERVER, 6), PORT)


@families
def test_an_endpoint_loses_no_packet_from_its_first_moment(lab: Node, family: int) -> None:
    """Each first packet is answered at once: a repetition would take TCP and neighbour discovery a second."""
    where = address(SERVER, family)
    with listening(lab.endpoints["server"], where, PORT):
        for number in range(40, 70):
            lab.attach(f"e{number}", number)
            lab.put({number: plan(EMPIRE)})
            assert connect(lab.endpoints[f"e{number}"], where, PORT), number
            assert echo(lab.namespace, address(number, family)), number


@families
def test_events_tell_who_was_denied_and_by_which_rule(lab: Node, family: int) -> None:
    guard(lab)
    assert lab.datapath is not None
    source = lab.datapath.event_source()
    source.read()
    where = address(SERVER, family)
    assert refused(lab.endpoints["tie"], where, PORT + 1)
    drops = [event for event in source.read() if event.kind == abi.EventKind.DROP]
    [drop, *_] = [event for event in drops if event.reason == abi.Reason.POLICY_DENIED]
    assert (drop.endpoint, drop.local_identity, drop.remote_identity) == (SERVER, EMPIRE, EMPIRE)
    assert (drop.rule, drop.direction, drop.verdict) == (
        DENY.rule,
        abi.Direction.INGRESS,
        abi.Verdict.DENY,
    )
    assert (drop.source, drop.destination) == (
        pack_address(address(EMPIRE_CLIENT, family)),
        pack_address(where),
    )
    assert (drop.destination_port, drop.protocol) == (PORT + 1, socket.IPPROTO_TCP)
    assert source.lost() == 0


def test_a_new_identity_is_one_write(lab: Node) -> None:
    assert lab.datapath is not None
    before = lab.run(lab.datapath.statistics).writes
    lab.apply(Change(identity_classes={Identity(300): EMPIRE_CLASS}))
    assert lab.run(lab.datapath.statistics).writes == before + 1


def test_a_change_before_the_restore_is_refused() -> None:
    with node() as lab:
        lab.datapath = lab.run(Datapath.open, lab.settings)
        with pytest.raises(RuntimeError, match="not restored"):
            lab.apply(Change())


def test_statistics_tell_what_was_loaded(lab: Node) -> None:
    assert lab.datapath is not None
    statistics = lab.run(lab.datapath.statistics)
    assert not statistics.adopted
    assert {each.name for each in statistics.programs} == {"from_endpoint", "to_endpoint"}
    assert all(each.verified_instructions and each.jited_bytes for each in statistics.programs)
    assert {each.name for each in statistics.maps} == abi.MAPS.keys() - {"proxy"}, "nat's alone"
    assert (statistics.endpoints, statistics.endpoints_ready) == (3, 3)
    assert lab.datapath.capacity == replace(SMALL, rule_sets=SMALL.rule_sets - 1)


def test_more_endpoints_than_rows_are_refused(lab: Node) -> None:
    assert lab.datapath is not None
    full = replace(endpoint("full", 99), ipv4=None, ipv6=None)
    reserve = lab.datapath._table.reserve
    free = SMALL.endpoints - len(lab.run(lab.datapath.dump, "endpoints"))
    row = lab.datapath._table.row(0)
    slots = [reserve(replace(row, id=1000 + number), lab.settings.interface_base) for number in range(free)]
    with pytest.raises(CapacityError, match="map endpoints would need 65 entries and has room for 64"):
        lab.run(lab.datapath.attach, full, lab.namespace_for("full"))
    for slot in slots:
        lab.datapath._table.clear(slot)


def test_detach_removes_interface_row_and_addresses(lab: Node) -> None:
    assert lab.datapath is not None
    interface = lab.datapath.interface(EndpointId(SERVER))
    assert interface is not None
    assert lab.run(lab.datapath.detach, EndpointId(SERVER))
    assert not lab.run(lab.datapath.detach, EndpointId(SERVER))
    assert interface.name not in lab.command("ip", "-brief", "link")
    assert {row["id"] for row in lab.run(lab.datapath.dump, "endpoints")} == {EMPIRE_CLIENT, ALLIANCE_CLIENT}
    assert address(SERVER, 4) not in {row["address"] for row in lab.run(lab.datapath.dump, "local_addresses")}


def test_an_address_or_endpoint_cannot_be_attached_twice(lab: Node) -> None:
    with pytest.raises(ValueError, match="attached already"):
        lab.attach("server", SERVER)
    assert lab.datapath is not None
    before = lab.command("ip", "-brief", "link")
    lab.run(lab.datapath.detach, EndpointId(SERVER))
    lab.attach("server", SERVER)
    assert len(lab.command("ip", "-brief", "link").splitlines()) == len(before.splitlines())


def ping(lab: Node, source: str, target: str) -> bool:
    """One echo request from an endpoint."""
    return echo(lab.endpoints[source], target)
