"""What an operator may leave out, and what no setting may break."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from kinety import abi
from kinety.datapath.settings import INTERFACE_PREFIX, SWITCHES, Settings
from kinety.datapath.template import map_sizes, node_constants

#: Longest name of an interface (IFNAMSIZ without its zero), and highest index (a signed number).
NAME_LENGTH, HIGHEST_INDEX = 15, (1 << 31) - 1
#: The kernel counts interfaces up from 1: indexes that it gives away by itself are far below ours.
FIRST_FREE = 1 << 16

DEFAULT = Settings(pins=Path("/sys/fs/bpf/kinety"))


def test_every_slot_has_a_name_and_an_index_that_the_kernel_takes() -> None:
    last = DEFAULT.capacity.endpoints
    assert len(f"{INTERFACE_PREFIX}{last}") <= NAME_LENGTH
    assert FIRST_FREE <= DEFAULT.interface_base <= HIGHEST_INDEX - last


def test_defaults_are_those_of_the_contract() -> None:
    constants = {name: abi.CONSTANTS[name].default for name in node_constants(DEFAULT)}
    assert node_constants(DEFAULT) == constants
    assert map_sizes(DEFAULT)["conntrack"] == abi.MAPS["conntrack"].max_entries


def test_every_endpoint_may_have_two_addresses() -> None:
    assert map_sizes(DEFAULT)["local_addresses"] >= 2 * DEFAULT.capacity.endpoints


def test_spare_tables_leave_room_for_those_in_use() -> None:
    assert DEFAULT.spare_rule_sets < DEFAULT.capacity.rule_sets // 2


def test_switches_are_settings_that_programs_are_told() -> None:
    for name, switch in SWITCHES.items():
        for position, value in switch.values.items():
            settings = DEFAULT.switched({name: position})
            assert getattr(settings, switch.field) == value
            assert settings.switches() == DEFAULT.switches() | {name: position}
            assert (node_constants(settings) == node_constants(DEFAULT)) == (settings == DEFAULT)
            assert map_sizes(settings) == map_sizes(DEFAULT)


def test_what_is_no_switch_cannot_be_switched() -> None:
    with pytest.raises(KeyError):
        DEFAULT.switched({"interface_base": True})


def test_settings_hold_while_a_datapath_is_open() -> None:
    with pytest.raises(FrozenInstanceError):
        DEFAULT.ipv6 = False  # type: ignore[misc]
