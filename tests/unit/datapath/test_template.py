"""What is loaded fits the contract, or is refused with both numbers before anything is made."""

from __future__ import annotations

import importlib.resources
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kinety import abi
from kinety.datapath.settings import Settings
from kinety.datapath.template import (
    Template,
    map_sizes,
    node_constants,
    packaged_object,
    remove_tree,
    shared_maps,
)
from kinety.kernel.spec import CollectionSpec
from kinety.kernel.uapi import ProgramType
from kinety.plan.change import Capacity

SETTINGS = Settings(pins=Path("unused"))


def test_constants_and_sizes_are_the_contracts() -> None:
    assert node_constants(SETTINGS).keys() <= abi.CONSTANTS.keys()
    assert map_sizes(SETTINGS).keys() <= abi.MAPS.keys()


def test_default_sizes_are_the_contracts_defaults() -> None:
    assert map_sizes(SETTINGS) == {name: abi.MAPS[name].max_entries for name in map_sizes(SETTINGS)}
    inner = abi.MAPS["rule_sets"].inner
    assert inner is not None
    assert inner.max_entries == Capacity().rows


def test_settings_decide_constants() -> None:
    assert node_constants(SETTINGS) == {
        name: abi.CONSTANTS[name].default for name in node_constants(SETTINGS)
    }
    settings = replace(
        SETTINGS,
        interface_base=7,
        ipv6=False,
        event_level=abi.EventLevel.NONE,
        shadow=False,
        fragments=False,
        hooks=False,
        bandwidth=False,
        redirect=abi.Redirect.NONE,
        proxy_source_ports=(50000, 50999),
    )
    assert node_constants(settings) == {
        "config_interface_base": 7,
        "config_ipv4": 1,
        "config_ipv6": 0,
        "config_event_level": 2,
        "config_shadow": 0,
        "config_fragments": 0,
        "config_hooks": 0,
        "config_bandwidth": 0,
        "config_redirect": 0,
        "config_proxy_source_first": 50000,
        "config_proxy_source_last": 50999,
    }


@pytest.mark.needs("objects")
def test_the_object_has_the_maps_of_the_contract() -> None:
    assert shared_maps(CollectionSpec.parse(packaged_object())).keys() == abi.MAPS.keys()


@pytest.mark.needs("objects")
def test_a_stale_object_is_refused_with_both_numbers(tmp_path: Path) -> None:
    mine = abi.CONTRACT_HASH.to_bytes(8, sys.byteorder)
    elf = packaged_object()
    assert elf.count(mine) == 1
    stale = elf.replace(mine, (abi.CONTRACT_HASH ^ 1).to_bytes(8, sys.byteorder))
    with pytest.raises(ValueError, match=f"{abi.CONTRACT_HASH ^ 1:#018x}.*{abi.CONTRACT_HASH:#018x}"):
        Template.open(replace(SETTINGS, pins=tmp_path), stale)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "expected", "complaint"),
    [
        ("missing", FileNotFoundError, "make bpf"),
        ("directory", IsADirectoryError, r"endpoint\.o"),
        ("endless", ValueError, r"endpoint\.o is no BPF object: it has more than 16 MiB"),
    ],
)
def test_what_lies_where_the_object_should_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, expected: type[Exception], complaint: str
) -> None:
    monkeypatch.setattr(importlib.resources, "files", lambda _: tmp_path)
    (tmp_path / "bpf").mkdir()
    path = tmp_path / "bpf/endpoint.o"
    if place == "directory":
        path.mkdir()
    elif place == "endless":
        path.symlink_to("/dev/zero")
    with pytest.raises(expected, match=complaint):
        packaged_object()


@pytest.mark.needs("objects")
def test_programs_of_another_type_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = CollectionSpec.parse(packaged_object())
    program = replace(spec.programs["to_endpoint"], type=ProgramType.XDP)
    odd = replace(spec, programs={**spec.programs, "to_endpoint": program})
    monkeypatch.setattr(CollectionSpec, "parse", lambda _: odd)
    with pytest.raises(ValueError, match="to_endpoint is a program of type xdp; endpoints need sched_cls"):
        Template.open(replace(SETTINGS, pins=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_trees_of_pins_are_removed_whole(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/pin").touch()
    (tmp_path / "a/pin").touch()
    remove_tree(tmp_path / "a")
    remove_tree(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
