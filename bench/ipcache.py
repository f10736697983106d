"""How long does it take to give the kernel 60 000 addresses and their identities, and to find one there?

Loading: 54 000 single addresses, a sixth of them IPv6, and 6 000 prefixes, handed to the datapath in one
change. The baseline writes the same rows with one bpf(2) call each.

Finding: 59 800 single addresses and 200 prefixes, asked for 1024 different addresses a run by a program
that calls the function the datapath calls: an exact hash, and a trie after a miss. The baseline is the
same rows in one trie, whose loop differs in nothing else. Addresses lie dense (250 in each /24) or sparse
(anywhere in a /8), and what is asked for is one of them or anywhere else (in a prefix or in none). The
same loop without a look-up is subtracted from both. The caches are warm, as they are not for every packet.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from bench.compiled import compiled
from bench.figure import Figure, Goal, compare, median, spread
from bench.wire import namespace
from kinety import abi
from kinety.datapath.cleanup import cleanup
from kinety.datapath.datapath import Datapath
from kinety.datapath.settings import Settings
from kinety.datapath.template import packaged_object
from kinety.kernel.collection import Collection
from kinety.kernel.map import Map
from kinety.kernel.spec import CollectionSpec
from kinety.model.address import Prefix, pack_address
from kinety.model.identity import Identity
from kinety.plan.change import Change, Snapshot

ENTRIES, QUICK_ENTRIES = 60_000, 2_000
ROUNDS, QUICK_ROUNDS = 9, 2
FIRST_LOCAL = 1 << 24

PREFIXES = 200
#: Addresses a run: ADDRESSES in bench/bpf/addresses.bpf.c.
ASKED = 1024
LOOKUP_ROUNDS, QUICK_LOOKUP_ROUNDS = 15, 2
REPEAT, QUICK_REPEAT = 100, 5
SEED = 13


def run(quick: bool = False) -> list[Figure]:
    """Milliseconds to load all of them; nanoseconds to find one, in four situations."""
    return [loaded(quick), *found(quick)]


def loaded(quick: bool) -> Figure:
    """Milliseconds for all of them."""
    rows = entries(QUICK_ENTRIES if quick else ENTRIES)
    with namespace("node") as space, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rounds = QUICK_ROUNDS if quick else ROUNDS
        ours, theirs = space.call(measured, rows, rounds, Path(folder) / "bpf")
    return Figure(
        f"load {len(rows)} ipcache entries",
        median(ours),
        "ms",
        "one system call a row",
        median(theirs),
        spread=spread(ours),
        goal=Goal("value", "<=", 500.0),
    )


def entries(count: int) -> dict[Prefix, Identity]:
    """Prefixes with an identity each: of ten, seven and a half IPv4 hosts, one and a half IPv6, one a /24."""
    rows: dict[Prefix, Identity] = {}
    for number in range(count):
        if number % 10 == 0:
            text = f"{IPv4Address('16.0.0.0') + number * 256}/24"
        elif number % 20 in (1, 2, 3):
            text = f"{IPv6Address('2001:db8::') + number}/128"
        else:
            text = f"{IPv4Address('10.0.0.0') + number}/32"
        rows[Prefix.parse(text)] = Identity(FIRST_LOCAL + number)
    return rows


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


def found(quick: bool) -> list[Figure]:
    """Nanoseconds to find one address, where addresses are dense or sparse and where it is there or not."""
    count = (QUICK_ENTRIES if quick else ENTRIES) - PREFIXES
    figures = []
    for layout, address in (("dense", dense), ("sparse", sparse)):
        chance = random.Random(SEED)
        hosts = {address(number, chance): FIRST_LOCAL + number for number in range(count)}
        prefixes = {IPv4Address("172.16.0.0") + number * 256: 256 + number for number in range(PREFIXES)}
        known = chance.sample(sorted(hosts), ASKED)
        unknown = [elsewhere(number, chance) for number in range(ASKED)]
        with Collection.load(compiled("addresses")) as programs:
            fill(programs, hosts, prefixes)
            for what, asked, goal in (
                ("one of them", known, Goal("ratio", "<=", 1.0)),
                ("another", unknown, None),
            ):
                name = f"find an address in {count + PREFIXES} {layout} ones, {what}"
                figures.append(compared(programs, name, asked, goal, quick))
    return figures


def dense(number: int, _: random.Random) -> IPv4Address:
    """250 addresses in each /24 of 10.0.0.0/8, from its start."""
    return IPv4Address("10.0.0.0") + number // 250 * 256 + number % 250 + 1


def sparse(number: int, chance: random.Random) -> IPv4Address:
    """Anywhere in 10.0.0.0/8, each in a stretch of its own, so that there are no two of them."""
    stretch = (1 << 24) // ENTRIES
    return IPv4Address("10.0.0.0") + number * stretch + chance.randrange(stretch)


def elsewhere(number: int, chance: random.Random) -> IPv4Address:
    """By turns in one of the prefixes, and outside of everything."""
    if number % 2:
        return IPv4Address("172.16.0.0") + chance.randrange(PREFIXES * 256)
    return IPv4Address("203.0.0.0") + chance.randrange(1 << 16)


def fill(programs: Collection, hosts: dict[IPv4Address, int], prefixes: dict[IPv4Address, int]) -> None:
    """The same rows as two maps and as one; prefixes are /24."""
    exact = {pack_address(address): entry(number) for address, number in hosts.items()}
    short = {prefix_key(120, address): entry(number) for address, number in prefixes.items()}
    long = {prefix_key(128, address): entry(number) for address, number in hosts.items()}
    for name, rows in (("ipcache_hosts", exact), ("ipcache_prefixes", short), ("everything", long | short)):
        programs.maps[name].update_batch(b"".join(rows), b"".join(rows.values()), len(rows))


def entry(identity: int) -> bytes:
    return abi.IpcacheEntry(identity=identity, node=0).pack()


def prefix_key(length: int, address: IPv4Address) -> bytes:
    return abi.IpcachePrefixKey(length, pack_address(address)).pack()


def compared(
    programs: Collection, name: str, asked: Sequence[IPv4Address], goal: Goal | None, quick: bool
) -> Figure:
    """Both ways in turns. Raises RuntimeError when they do not find the same."""
    keys = b"".join(number.to_bytes(4, sys.byteorder) for number in range(ASKED))
    programs.maps["asked"].update_batch(keys, b"".join(map(pack_address, asked)), ASKED)
    repeat = QUICK_REPEAT if quick else REPEAT
    ours, theirs = [], []
    for _ in range(QUICK_LOOKUP_ROUNDS if quick else LOOKUP_ROUNDS):
        runs = {
            way: programs.programs[way].test_run(bytes(64), repeat=repeat)
            for way in ("nothing", "both", "trie_alone")
        }
        if runs["both"].retval != runs["trie_alone"].retval:
            raise RuntimeError(f"{name}: hash and trie do not find what the trie alone finds")
        ours.append((runs["both"].duration_ns - runs["nothing"].duration_ns) / ASKED)
        theirs.append((runs["trie_alone"].duration_ns - runs["nothing"].duration_ns) / ASKED)
    return compare(name, "ns", ours, "trie alone", theirs, goal)
