"""How long does it take to give the kernel 60 000 addresses and their identities?

54 000 single addresses, a sixth of them IPv6, and 6 000 prefixes, handed to the datapath in one change.
The baseline writes the same rows with one bpf(2) call each.
"""

from __future__ import annotations

import tempfile
import time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from bench.figure import Figure, Goal, median, spread
from bench.wire import namespace
from kinety import abi
from kinety.datapath.datapath import Datapath, cleanup
from kinety.datapath.settings import Settings
from kinety.datapath.template import packaged_object
from kinety.kernel.map import Map
from kinety.kernel.spec import CollectionSpec
from kinety.model.address import Prefix
from kinety.model.identity import Identity
from kinety.plan.change import Change, Snapshot

ENTRIES, QUICK_ENTRIES = 60_000, 2_000
ROUNDS, QUICK_ROUNDS = 9, 2
FIRST_LOCAL = 1 << 24


def run(quick: bool = False) -> list[Figure]:
    """One figure: milliseconds for all of them."""
    rows = entries(QUICK_ENTRIES if quick else ENTRIES)
    with namespace("node") as space, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rounds = QUICK_ROUNDS if quick else ROUNDS
        ours, theirs = space.call(measured, rows, rounds, Path(folder) / "bpf")
    return [
        Figure(
            f"load {len(rows)} ipcache entries",
            median(ours),
            "ms",
            "one system call a row",
            median(theirs),
            spread=spread(ours),
            goal=Goal("value", "<=", 500.0),
        )
    ]


def entries(count: int) -> dict[Prefix, Identity]:
    """Prefixes with an identity each: of ten, seven and a half IPv4 hosts, one and a half IPv6, one a /24."""
    found: dict[Prefix, Identity] = {}
    for number in range(count):
        if number % 10 == 0:
            text = f"{IPv4Address('16.0.0.0') + number * 256}/24"
        elif number % 20 in (1, 2, 3):
            text = f"{IPv6Address('2001:db8::') + number}/128"
        else:
            text = f"{IPv4Address('10.0.0.0') + number}/32"
        found[Prefix.parse(text)] = Identity(FIRST_LOCAL + number)
    return found


def measured(rows: dict[Prefix, Identity], rounds: int, pins: Path) -> tuple[list[float], list[float]]:
    """Milliseconds of each round, through the datapath and row by row. Runs inside the node's namespace."""
    settings = Settings(pins=pins)
    datapath = Datapath.open(settings)
    try:
        datapath.restore(Snapshot({}, {}, {}, {}, {}), ())
        ours, theirs = [], []
        for _ in range(rounds):
            started = time.perf_counter()
            datapath.apply(Change(ipcache=rows))
            ours.append((time.perf_counter() - started) * 1e3)
            datapath.apply(Change(ipcache_removed=frozenset(rows)))
            theirs.append(row_by_row(rows))
    finally:
        datapath.close()
        cleanup(settings)
    return ours, theirs


def row_by_row(rows: dict[Prefix, Identity]) -> float:
    """Milliseconds to write the same rows into fresh maps of the same kind, one call each."""
    maps = CollectionSpec.parse(packaged_object()).maps
    with Map.create(maps["ipcache_hosts"]) as hosts, Map.create(maps["ipcache_prefixes"]) as prefixes:
        started = time.perf_counter()
        for prefix, identity in rows.items():
            value = abi.IpcacheEntry(identity=identity, node=0).pack()
            if prefix.length == 128:
                hosts.update(prefix.packed, value)
            else:
                prefixes.update(abi.IpcachePrefixKey(prefix.length, prefix.packed).pack(), value)
        return (time.perf_counter() - started) * 1e3
