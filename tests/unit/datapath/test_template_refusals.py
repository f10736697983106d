"""Loading that is refused, by the object, the settings or the kernel: an error says why; nothing is left.

Left behind would be descriptors of this process, pins, directories, and objects in the kernel. Others load
programs on this machine, too, so maps are told by a size that no one else's have; programs hold their maps.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kinety import abi
from kinety.datapath.settings import Settings
from kinety.datapath.template import Template, contract_directory, packaged_object
from kinety.kernel import bpffs
from kinety.kernel.program import VerifierRefusal
from kinety.plan.change import Capacity
from kinety.testing.wait import wait_until
from tests.broken_object import of_the_other_byte_order, refused_by_the_verifier, stale
from tests.descriptors import crowded

pytestmark = pytest.mark.needs("root", "bpf", "bpffs", "objects", "bpftool")

SMALL = {"rule_sets": 8, "rows": 16, "ipcache_hosts": 16, "ipcache_prefixes": 16, "rules": 16}
#: What a BPF file system has from the start.
KERNELS = ".debug"


@dataclass(frozen=True)
class Trace:
    """What loading leaves: descriptors, paths below the pins, and maps in the kernel."""

    descriptors: int
    paths: tuple[str, ...]
    maps: int


@dataclass(frozen=True)
class Place:
    """Where a template is opened."""

    settings: Settings

    def trace(self) -> Trace:
        return Trace(len(os.listdir("/proc/self/fd")), self.paths(), self.maps())

    def paths(self) -> tuple[str, ...]:
        pins = self.settings.pins
        return tuple(
            sorted(str(path.relative_to(pins)) for path in pins.rglob("*") if path.suffix != KERNELS)
        )

    def maps(self) -> int:
        """Maps of the kernel that have this place's size, whoever holds them."""
        answer = subprocess.run(["bpftool", "-j", "map", "show"], check=True, capture_output=True).stdout
        return sum(each.get("max_entries") == self.settings.conntrack for each in json.loads(answer))

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Fail if anything more is there afterwards."""
        before = self.trace()
        yield
        wait_until(lambda: self.maps() == before.maps, 5.0, "the kernel lets go of its maps")
        assert self.trace() == before


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    pins = tmp_path / "pins"
    bpffs.mount(pins)
    odd = (1 << 12) + 1 + secrets.randbelow(1 << 20)
    try:
        yield Place(Settings(pins=pins, conntrack=odd, capacity=replace(Capacity(), **SMALL)))
    finally:
        bpffs.unmount(pins)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (lambda elf: b"", r"not a readable ELF object \(0 bytes\)"),
        (lambda elf: b"#!/bin/sh\n" * 99, r"not a readable ELF object \(990 bytes\)"),
        (lambda elf: Path(sys.executable).read_bytes(), "not a BPF object: an ELF file for .*; wanted BPF"),
        (lambda elf: elf[: len(elf) // 2], r"ELF object cut off at \d+ bytes"),
        (of_the_other_byte_order, "of the other byte order"),
        (stale, f"contract 0x0000000000000000, this Kinety speaks {abi.CONTRACT_HASH:#018x}"),
        (lambda elf: elf.replace(b"config_ipv4\0", b"config_ipv5\0"), "has no constant config_ipv4; it has "),
        (lambda elf: elf.replace(b"to_endpoint\0", b"tO_endpoint\0"), "has no program to_endpoint; it has "),
    ],
    ids=["empty", "script", "foreign", "truncated", "other order", "stale", "no constant", "no program"],
)
def test_an_object_that_does_not_fit_is_refused(
    place: Place, broken: Callable[[bytes], bytes], complaint: str
) -> None:
    elf = broken(packaged_object())
    with place.unchanged(), pytest.raises(ValueError, match=complaint):
        Template.open(place.settings, elf)


def test_a_constant_out_of_range_is_refused(place: Place) -> None:
    settings = replace(place.settings, interface_base=1 << 32)
    complaint = "constant config_interface_base = 4294967296 is outside 0..4294967295"
    with place.unchanged(), pytest.raises(ValueError, match=complaint):
        Template.open(settings)


@pytest.mark.parametrize("program", ["from_endpoint", "to_endpoint"])
def test_what_the_verifier_refuses_is_told_in_one_line(place: Place, program: str) -> None:
    elf = refused_by_the_verifier(packaged_object(), program)
    with place.unchanged(), pytest.raises(VerifierRefusal, match=f"load program {program}") as refusal:
        Template.open(place.settings, elf)
    assert refusal.value.errno == errno.EACCES
    verdict, place_of_it = refusal.value.__notes__
    assert verdict == "verifier: R9 !read_ok"
    assert place_of_it.startswith("at: ")
    assert len(refusal.value.log.splitlines()) > 2, "the whole log for who asks for it"


def test_a_name_that_is_taken_undoes_the_pins_made_until_then(place: Place) -> None:
    taken = contract_directory(place.settings.pins) / "maps" / "rule_sets"
    taken.mkdir(parents=True)
    with place.unchanged(), pytest.raises(OSError, match=r"rule_sets"):
        Template.open(place.settings)


def test_a_full_descriptor_table_leaves_nothing(place: Place) -> None:
    """With room for one descriptor more each time, until it succeeds."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    elf = packaged_object()
    refused = 0
    before = place.trace()
    while True:
        with crowded(refused):
            opened = attempt(place.settings, elf, refused)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        if opened is not None:
            break
        refused += 1
        assert len(os.listdir("/proc/self/fd")) == before.descriptors
        assert place.paths() == before.paths
    with_opened = len(opened.maps) + len(opened.programs)
    opened.close()
    assert refused > with_opened, "each map and program once, at the least"
    assert len(os.listdir("/proc/self/fd")) == before.descriptors
    assert {path.name for path in place.settings.pins.rglob("*")} >= {"conntrack", "from_endpoint"}


def attempt(settings: Settings, elf: bytes, room: int) -> Template | None:
    """A template, or None when there were too few descriptors, which the error says."""
    try:
        return Template.open(settings, elf)
    except OSError as error:
        refusal = error
    assert refusal.errno == errno.EMFILE, (room, refusal)
    assert room == 0 or "ulimit -n" in refusal.__notes__[0], (room, refusal)
    return None


def test_after_every_refusal_the_next_attempt_succeeds(place: Place) -> None:
    broken = refused_by_the_verifier(packaged_object())
    for elf in (broken, stale(packaged_object())):
        with pytest.raises((OSError, ValueError)):
            Template.open(place.settings, elf)
    opened = Template.open(place.settings)
    assert not opened.adopted
    assert opened.superseded() == ()
    opened.close()
