"""The agent may die: what a second start finds, keeps, mends and removes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from kinety.abi import EventLevel
from kinety.datapath.attachments import Attachments
from kinety.datapath.cleanup import cleanup
from kinety.datapath.datapath import Datapath
from kinety.datapath.template import Template, contract_directory
from kinety.kernel.netlink import Netlink
from kinety.model.address import Prefix
from kinety.model.endpoint import EndpointId
from kinety.model.identity import ClassId, Identity
from kinety.plan.change import Change, Snapshot
from tests.netns.datapath_node import (
    Flow,
    Node,
    address,
    connect,
    listening,
    node,
    plan,
    refused,
    rule_sets,
    table,
    tcp,
)

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

EMPIRE, ALLIANCE = Identity(256), Identity(257)
EMPIRE_CLASS, ALLIANCE_CLASS = ClassId(3), ClassId(4)
SERVER, TIE, XWING = EndpointId(11), EndpointId(12), EndpointId(13)
NAMES = {SERVER: "server", TIE: "tie", XWING: "xwing"}
PORT = 8080
SNAPSHOT = Snapshot(
    rules={},
    rule_sets=rule_sets(guard=tcp(EMPIRE_CLASS, PORT), nothing=table({})),
    identity_classes={EMPIRE: EMPIRE_CLASS, ALLIANCE: ALLIANCE_CLASS},
    ipcache={Prefix.parse("198.51.100.0/24"): Identity(1 << 24), Prefix.parse("192.0.2.1"): Identity(1)},
    endpoints={
        SERVER: plan(EMPIRE, ingress="guard"),
        TIE: plan(EMPIRE),
        XWING: plan(ALLIANCE, ingress="nothing"),
    },
)


def change(snapshot: Snapshot) -> Change:
    """The change that leads from nothing to a snapshot."""
    return Change(
        rule_sets=snapshot.rule_sets,
        identity_classes=snapshot.identity_classes,
        ipcache=snapshot.ipcache,
        endpoints=snapshot.endpoints,
    )


@pytest.fixture
def lab() -> Iterator[Node]:
    """Three endpoints under the snapshot's policy."""
    with node() as built:
        built.open()
        for number, name in NAMES.items():
            built.attach(name, number)
        built.apply(change(SNAPSHOT))
        yield built


def promote(lab: Node) -> None:
    assert lab.datapath is not None
    while lab.run(lab.datapath.maintain):
        pass
    assert lab.run(lab.datapath.statistics).endpoints_promoted == len(NAMES)


def restart(
    lab: Node, snapshot: Snapshot = SNAPSHOT, known: frozenset[EndpointId] = frozenset(NAMES)
) -> Datapath:
    lab.forget()
    return lab.open(snapshot, known)


@pytest.mark.parametrize("promoted", [False, True])
def test_a_restart_with_nothing_new_writes_nothing(lab: Node, promoted: bool) -> None:
    if promoted:
        promote(lab)
    before = lab.command("ip", "-details", "address")
    datapath = restart(lab)
    assert lab.restoration is not None
    assert lab.restoration.writes == 0
    assert lab.restoration.missing == frozenset()
    assert lab.restoration.removed == ()
    statistics = lab.run(datapath.statistics)
    assert statistics.adopted
    assert statistics.writes == 0, "opening wrote nothing either"
    assert lab.command("ip", "-details", "address") == before


@pytest.mark.parametrize("promoted", [False, True])
@pytest.mark.parametrize("family", [4, 6])
def test_flows_and_denials_outlive_the_agent(lab: Node, family: int, promoted: bool) -> None:
    if promoted:
        promote(lab)
    where = address(SERVER, family)
    with listening(lab.endpoints["server"], where, PORT) as server:
        flow = Flow(lab, "tie", where, PORT, server)
        assert flow.carries()
        lab.forget()
        assert flow.carries(), "nobody steers, the datapath forwards"
        assert connect(lab.endpoints["tie"], where, PORT)
        assert refused(lab.endpoints["xwing"], where, PORT)
        restart(lab)
        assert flow.carries()
        assert refused(lab.endpoints["xwing"], where, PORT)
        assert lab.run(_conntrack, lab), "conntrack was not purged"
        flow.close()


def _conntrack(lab: Node) -> list[dict[str, object]]:
    assert lab.datapath is not None
    return lab.datapath.dump("conntrack")


def test_what_changed_while_the_agent_was_away_is_written(lab: Node) -> None:
    changed = replace(
        SNAPSHOT,
        rule_sets=rule_sets(open=tcp(ALLIANCE_CLASS, PORT), nothing=table({})),
        identity_classes={ALLIANCE: ALLIANCE_CLASS},
        ipcache={Prefix.parse("192.0.2.1"): Identity(1)},
        endpoints={**SNAPSHOT.endpoints, SERVER: plan(EMPIRE, ingress="open")},
    )
    datapath = restart(lab, changed)
    assert lab.restoration is not None
    assert lab.restoration.writes > 0
    with listening(lab.endpoints["server"], address(SERVER, 4), PORT):
        assert connect(lab.endpoints["xwing"], address(SERVER, 4), PORT)
        assert refused(lab.endpoints["tie"], address(SERVER, 4), PORT)
    assert lab.run(datapath.dump, "identity_classes") == [{"identity": 257, "class": 4}]
    assert lab.run(datapath.dump, "ipcache_prefixes") == []
    restart(lab, changed)
    assert lab.restoration.writes == 0, "the first restart converged"


def test_an_endpoint_the_store_does_not_know_is_removed(lab: Node) -> None:
    remaining = {number: each for number, each in SNAPSHOT.endpoints.items() if number != TIE}
    datapath = restart(lab, replace(SNAPSHOT, endpoints=remaining), frozenset({SERVER, XWING}))
    assert lab.restoration is not None
    assert len(lab.restoration.removed) == 1
    assert lab.restoration.removed[0] not in lab.command("ip", "-brief", "link")
    assert {row["id"] for row in lab.run(datapath.dump, "endpoints")} == {SERVER, XWING}
    assert len(lab.run(datapath.dump, "local_addresses")) == 4


@pytest.mark.parametrize("promoted", [False, True])
def test_an_endpoint_whose_namespace_went_away_is_missing(lab: Node, promoted: bool) -> None:
    if promoted:
        promote(lab)
    assert lab.datapath is not None
    assert lab.run(lab.datapath.vanished) == frozenset()
    gone = lab.datapath.interface(TIE)
    assert gone is not None
    lab.command("ip", "link", "delete", gone.name)
    assert lab.run(lab.datapath.vanished) == {TIE}
    restart(lab)
    assert lab.restoration is not None
    assert lab.restoration.missing == {TIE}
    again = lab.attach("tie", TIE)
    assert again.slot != gone.slot
    with listening(lab.endpoints["server"], address(SERVER, 4), PORT):
        assert connect(lab.endpoints["tie"], address(SERVER, 4), PORT), "its plan was known"


def test_an_attach_that_was_cut_short_is_undone(lab: Node) -> None:
    lab.attach("late", 30)  # attached, killed before its plan was applied
    restart(lab, known=frozenset({*NAMES, EndpointId(30)}))
    assert lab.restoration is not None
    assert lab.restoration.missing == {30}
    assert len(lab.restoration.removed) == 1
    lab.attach("late", 30)
    lab.put({30: plan(EMPIRE)})
    with listening(lab.endpoints["server"], address(SERVER, 4), PORT):
        assert connect(lab.endpoints["late"], address(SERVER, 4), PORT)


def test_an_interface_without_a_row_is_removed_and_strangers_are_not(lab: Node) -> None:
    base = lab.settings.interface_base
    lab.command("ip", "link", "add", "kinety40", "index", str(base + 40), "type", "bridge")
    lab.command("ip", "link", "add", "stranger", "index", str(base + 41), "type", "bridge")
    lab.command("ip", "link", "add", "kinety99", "type", "bridge")
    restart(lab)
    assert lab.restoration is not None
    assert lab.restoration.removed == ("kinety40",)
    listed = lab.command("ip", "-brief", "link")
    assert "stranger" in listed
    assert "kinety99" in listed


def test_a_row_without_an_interface_is_cleared(lab: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lab.datapath is not None
    monkeypatch.setattr(type(lab.datapath._wiring), "create", _die)
    monkeypatch.setattr(Attachments, "_remove", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        lab.attach("late", 30)
    monkeypatch.undo()
    assert len(lab.run(lab.datapath.dump, "endpoints")) == len(NAMES) + 1
    datapath = restart(lab)
    assert len(lab.run(datapath.dump, "endpoints")) == len(NAMES)
    assert len(lab.run(datapath.dump, "local_addresses")) == 2 * len(NAMES)


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_failed_attach_leaves_nothing(lab: Node) -> None:
    before = lab.command("ip", "-brief", "link"), lab.run(_rows, lab)
    lab.endpoints["taken"] = lab.endpoints["tie"]  # eth0 is there already
    with pytest.raises(OSError, match="make veth"):
        lab.attach("taken", 30)
    assert (lab.command("ip", "-brief", "link"), lab.run(_rows, lab)) == before


def _rows(lab: Node) -> list[dict[str, object]]:
    assert lab.datapath is not None
    return lab.datapath.dump("endpoints") + lab.datapath.dump("local_addresses")


def test_filters_someone_removed_are_put_back(lab: Node) -> None:
    assert lab.datapath is not None
    interface = lab.datapath.interface(XWING)
    assert interface is not None
    where = address(SERVER, 4)
    with listening(lab.endpoints["server"], where, PORT):
        lab.command("tc", "qdisc", "delete", "dev", interface.name, "clsact")
        restart(lab)
        assert refused(lab.endpoints["xwing"], where, PORT)


def test_other_sizes_are_refused_with_both_numbers(lab: Node) -> None:
    lab.forget()
    larger = replace(lab.settings.capacity, identity_classes=2048)
    with pytest.raises(ValueError, match=r"identity_classes .*1024.*2048"):
        lab.run(Datapath.open, replace(lab.settings, capacity=larger))
    restart(lab)


def test_another_contract_is_refused_with_both_numbers(lab: Node) -> None:
    lab.forget()
    mine = contract_directory(lab.settings.pins)
    other = mine.with_name("contract-1234")
    other.mkdir()
    with pytest.raises(ValueError, match=f"contract-1234.*{mine.name}"):
        lab.run(Datapath.open, lab.settings)
    other.rmdir()
    restart(lab)


def test_a_new_program_takes_over_live_endpoints(lab: Node) -> None:
    assert lab.datapath is not None
    lab.run(lab.datapath.maintain)
    lab.run(lab.datapath.maintain)  # some on links, some on filters
    former = {each.id for each in lab.run(lab.datapath.statistics).programs}
    where = address(SERVER, 4)
    with listening(lab.endpoints["server"], where, PORT) as server:
        flow = Flow(lab, "tie", where, PORT, server)
        lab.forget()
        lab.settings = replace(lab.settings, event_level=EventLevel.DROPS)
        datapath = lab.open(SNAPSHOT, NAMES)
        statistics = lab.run(datapath.statistics)
        assert former.isdisjoint(each.id for each in statistics.programs)
        assert not statistics.adopted
        assert len(list(contract_directory(lab.settings.pins).glob("program-*"))) == 1
        assert flow.carries()
        assert connect(lab.endpoints["tie"], where, PORT)
        assert refused(lab.endpoints["xwing"], where, PORT)
        flow.close()
    running = lab.command("bpftool", "-j", "net", "show")
    assert not [number for number in former if f'"id":{number},' in running]


LEAST = {
    "event_level": EventLevel.NONE,
    "shadow": False,
    "fragments": False,
    "hooks": False,
    "bandwidth": False,
}
UNUSED = {
    "events",
    "lost_events",
    "shadow_counters",
    "shadow_scratch",
    "lost_shadows",
    "fragments",
    "hooks",
    "hook_counters",
    "rates",
}


def test_a_start_without_something_gives_its_maps_back_and_one_with_it_makes_them(lab: Node) -> None:
    """Meanwhile the flow goes on, and so does its entry."""
    maps = contract_directory(lab.settings.pins) / "maps"
    whole, full = lab.settings, {path.name for path in maps.iterdir()}
    numbers = map_numbers(lab)
    where = address(SERVER, 4)
    with listening(lab.endpoints["server"], where, PORT) as server:
        flow = Flow(lab, "tie", where, PORT, server)
        for settings, missing in ((replace(whole, **LEAST), UNUSED), (whole, set())):
            lab.forget()
            lab.settings = settings
            datapath = lab.open(SNAPSHOT, NAMES)
            assert {path.name for path in maps.iterdir()} == full - missing
            kept = map_numbers(lab)
            assert kept.keys() == full - missing
            assert all(numbers[name] == number for name, number in kept.items() if name not in UNUSED)
            assert missing.isdisjoint(datapath.map_names())
            assert (datapath.event_source() is None) == bool(missing)
            assert (datapath.shadow_counters(), datapath.shadows_lost()) == ({}, 0)
            assert flow.carries()
            assert connect(lab.endpoints["tie"], where, PORT)
            assert refused(lab.endpoints["xwing"], where, PORT)
            restart(lab)
        flow.close()
    running = lab.command("bpftool", "-j", "map", "list")
    assert not [name for name in UNUSED if f'"id":{numbers[name]},' in running], "nobody holds them"


def map_numbers(lab: Node) -> dict[str, int]:
    """The kernel's numbers of the maps that a datapath has."""
    assert lab.datapath is not None
    return {each.name: each.id for each in lab.run(lab.datapath.statistics).maps}


def test_a_start_that_was_cut_short_leaves_no_map_for_good(lab: Node) -> None:
    """Programs that need fewer maps were loaded and pinned, and no link was moved yet."""
    maps = contract_directory(lab.settings.pins) / "maps"
    lab.forget()
    lab.settings = replace(lab.settings, **LEAST)
    lab.run(Template.open, lab.settings).close()
    assert {path.name for path in maps.iterdir()} >= UNUSED
    lab.open(SNAPSHOT, NAMES)
    assert {path.name for path in maps.iterdir()}.isdisjoint(UNUSED)


def test_cleanup_leaves_nothing(lab: Node) -> None:
    promote(lab)
    lab.attach("late", 30)
    assert "kinety" in lab.command("nft", "list", "tables")
    lab.forget()
    lab.run(cleanup, lab.settings)
    with lab.run(Netlink) as netlink:
        assert {link.name for link in netlink.links()} == {"lo", "uplink"}
        assert netlink.clsact_interfaces() == frozenset()
    assert "kinety" not in lab.command("nft", "list", "ruleset")
    assert lab.command("ip", "route") == "192.0.2.0/24 dev uplink proto kernel scope link src 192.0.2.1 \n"
    assert not lab.settings.pins.exists()
    lab.run(cleanup, lab.settings)  # again: nothing to do
