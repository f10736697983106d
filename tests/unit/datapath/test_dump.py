"""Maps as JSON values."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from kinety import abi
from kinety.datapath.dump import NAMES, dump
from kinety.datapath.rule_sets import RuleSets
from kinety.kernel.map import Map, possible_cpus
from kinety.kernel.spec import MapSpec
from kinety.model.address import Prefix, pack_address
from kinety.model.identity import ClassId
from kinety.model.layer7 import Layer7Id
from kinety.model.rule import RuleId
from kinety.model.verdict import RuleSet, RuleSetKey, Verdict, VerdictKind
from kinety.plan.change import RuleSetId
from tests.unit.datapath.conftest import SIZE

pytestmark = pytest.mark.needs("objects")

Dump = Callable[..., list[dict[str, object]]]
ZERO = bytes(4)


@pytest.fixture
def maps(make: Callable[[str], Map]) -> dict[str, Map]:
    return {name: make(name) for name in NAMES}


@pytest.fixture
def rule_sets(maps: dict[str, Map], specs: dict[str, MapSpec]) -> RuleSets:
    inner = specs["rule_sets"].inner
    assert inner is not None
    return RuleSets(maps["rule_sets"], replace(inner, max_entries=SIZE), SIZE, 2)


@pytest.fixture
def shown(maps: dict[str, Map], rule_sets: RuleSets) -> Dump:
    def show(name: str, limit: int | None = None) -> list[dict[str, object]]:
        rows = dump(name, maps, rule_sets, limit)
        assert json.loads(json.dumps(rows)) == rows, "plain JSON values only"
        return rows

    return show


def test_every_map_can_be_shown_but_the_ring_and_what_is_of_use_for_a_moment(shown: Dump) -> None:
    assert set(NAMES) == abi.MAPS.keys() - {"events", "lookups", "shadow_scratch"}
    assert all(shown(name) == [] for name in NAMES)


def test_an_unknown_name_is_an_error(shown: Dump) -> None:
    with pytest.raises(KeyError):
        shown("nonsense")


def test_endpoints(maps: dict[str, Map], shown: Dump) -> None:
    row = replace(
        abi.Endpoint.unpack(bytes(abi.Endpoint.SIZE)),
        flags=abi.EndpointFlag.READY,
        id=5,
        rule_set=(3, 4),
        ipv4=pack_address("10.0.0.1"),
        container_mac=b"\x02\0\0\0\0\x0a",
    )
    maps["endpoints"].update((7).to_bytes(4, "little"), row.pack())
    [seen] = shown("endpoints")
    assert (seen["slot"], seen["flags"], seen["id"], seen["rule_set"]) == (7, ["ready"], 5, [3, 4])
    assert (seen["ipv4"], seen["ipv6"], seen["container_mac"]) == ("10.0.0.1", None, "02:00:00:00:00:0a")


def test_addresses_and_prefixes(maps: dict[str, Map], shown: Dump) -> None:
    entry = abi.IpcacheEntry(identity=300, node=0).pack()
    maps["ipcache_hosts"].update(pack_address("2001:db8::1"), entry)
    for text in ("192.0.2.0/24", "0.0.0.0/0", "::/0", "2001:db8::/32"):
        prefix = Prefix.parse(text)
        maps["ipcache_prefixes"].update(abi.IpcachePrefixKey(prefix.length, prefix.packed).pack(), entry)
    assert shown("ipcache_hosts") == [{"address": "2001:db8::1", "identity": 300, "node": 0}]
    assert {row["prefix"] for row in shown("ipcache_prefixes")} == {
        "192.0.2.0/24",
        "0.0.0.0/0",
        "::/0",
        "2001:db8::/32",
    }
    assert len(shown("ipcache_prefixes", 2)) == 2


def test_conntrack_names_flags_and_verdicts(maps: dict[str, Map], shown: Dump) -> None:
    key = abi.FlowKey(
        low=pack_address("10.0.0.1"),
        high=pack_address("10.0.0.2"),
        low_port=80,
        high_port=40000,
        protocol=6,
        proxied=0,
    )
    decision = abi.Decision(
        remote_identity=256, epoch=1, generation=0, rule=7, proxy_port=0, verdict=abi.Verdict.ALLOW, flags=0
    )
    entry = replace(
        abi.ConntrackEntry.unpack(bytes(abi.ConntrackEntry.SIZE)),
        flags=abi.ConntrackFlag.SYN | abi.ConntrackFlag.REPLIED,
        decision=(decision, decision),
    )
    maps["conntrack"].update(key.pack(), entry.pack())
    [row] = shown("conntrack")
    assert (row["low"], row["high_port"], row["flags"]) == ("10.0.0.1", 40000, ["replied", "syn"])
    assert [each["verdict"] for each in row["decision"]] == ["allow", "allow"]  # type: ignore[attr-defined]


def test_per_cpu_rows_are_summed(maps: dict[str, Map], shown: Dump) -> None:
    index = abi.Reason.POLICY_DENIED * len(abi.Direction) + abi.Direction.INGRESS
    key = int(index).to_bytes(4, "little")
    processors = possible_cpus()
    maps["counters"].update(key, abi.Counter(packets=2, bytes=100).pack() * processors)
    assert shown("counters") == [
        {
            "reason": "policy_denied",
            "direction": "ingress",
            "packets": 2 * processors,
            "bytes": 100 * processors,
        }
    ]


def test_shadow_counters_name_verdicts(maps: dict[str, Map], shown: Dump) -> None:
    key = abi.ShadowKey(
        endpoint=5, remote_identity=256, rule=7, rule_in_force=0, direction=1, verdict=0, verdict_in_force=1
    )
    counter = abi.ShadowCounter(
        flows=1, packets=2, bytes=120, last_seen=9, peer=pack_address("10.0.0.2"), port=80, protocol=6
    )
    maps["shadow_counters"].update(key.pack(), counter.pack())
    [row] = shown("shadow_counters")
    assert (row["direction"], row["verdict"], row["verdict_in_force"]) == ("ingress", "deny", "allow")
    assert (row["flows"], row["peer"], row["port"]) == (1, "10.0.0.2", 80)


def test_rule_sets_show_every_row_of_every_table(rule_sets: RuleSets, shown: Dump) -> None:
    rows = {
        RuleSetKey(ClassId(3), 24, 6, 443): Verdict(VerdictKind.REDIRECT, RuleId(7), Layer7Id("7")),
        RuleSetKey(ClassId(3), 0): Verdict(VerdictKind.DENY),
    }
    rule_sets.publish({RuleSetId("a"): RuleSet(rows)}, set, {Layer7Id("7"): 10101})
    seen = sorted(shown("rule_sets"), key=lambda row: str(row["prefix_length"]))
    assert [(row["class"], row["prefix_length"], row["verdict"]) for row in seen] == [
        (3, 32, "deny"),
        (3, 56, "redirect"),
    ]
    assert (seen[1]["protocol"], seen[1]["port"], seen[1]["proxy_port"], seen[1]["rule"]) == (
        6,
        443,
        10101,
        7,
    )
