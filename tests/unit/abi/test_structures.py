"""The generated structures: bytes as C lays them out, and back."""

from __future__ import annotations

import struct
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinety import abi
from kinety.abi import structures

STRUCTURES = [found for found in vars(structures).values() if hasattr(found, "SIZE")]
ADDRESS = bytes(range(16))


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda found: found.__name__)
@given(data=st.data())
def test_every_byte_survives_there_and_back(structure: type[abi.Endpoint], data: st.DataObject) -> None:
    """Unpacking any bytes and packing them again gives them back, but for reserved bytes, which are 0."""
    raw = data.draw(st.binary(min_size=structure.SIZE, max_size=structure.SIZE))
    value = structure.unpack(raw)
    packed = value.pack()
    assert len(packed) == structure.SIZE
    assert structure.unpack(packed) == value
    assert all(new in (old, 0) for new, old in zip(packed, raw, strict=True))


def test_ports_and_classes_are_host_numbers_in_network_order() -> None:
    key = abi.FlowKey(low=ADDRESS, high=ADDRESS, low_port=0x0102, high_port=443, protocol=6, proxied=1)
    assert key.pack()[32:40] == b"\x01\x02\x01\xbb\x06\1\0\0"
    assert abi.FlowKey.unpack(key.pack()).high_port == 443
    rule = abi.RuleSetKey(prefix_length=40, class_id=0x01020304, protocol=17, port_high=0, port_low=0)
    assert rule.pack()[4:8] == b"\x01\x02\x03\x04"


def test_other_numbers_are_in_host_order() -> None:
    assert abi.IpcacheEntry(identity=0x01020304, node=0).pack()[:4] == struct.pack("=I", 0x01020304)


def test_structures_in_structures_and_arrays() -> None:
    denied = abi.Decision(remote_identity=7, epoch=1, generation=2, rule=3, proxy_port=0, verdict=0, flags=0)
    other = abi.Decision(remote_identity=8, epoch=1, generation=2, rule=4, proxy_port=9, verdict=2, flags=0)
    entry = abi.ConntrackEntry(
        last_seen=1,
        flags=abi.ConntrackFlag.REPLIED | abi.ConntrackFlag.SYN,
        decision=(denied, other),
        forward_packets=1 << 40,
        forward_bytes=2,
        reply_packets=3,
        reply_bytes=4,
        proxy_port=10001,
    )
    packed = entry.pack()
    assert packed[8:28] == denied.pack()
    assert packed[28:48] == other.pack()
    assert abi.ConntrackEntry.unpack(packed) == entry


def test_a_record_may_lie_anywhere_in_a_buffer() -> None:
    row = abi.Counter(packets=5, bytes=6)
    assert abi.Counter.unpack(memoryview(b"abc" + row.pack() + b"more"), 3) == row
    with pytest.raises(struct.error):
        abi.Counter.unpack(row.pack()[:-1])


def test_reserved_fields_are_no_arguments() -> None:
    assert "reserved" not in {field.name for structure in STRUCTURES for field in fields(structure)}
