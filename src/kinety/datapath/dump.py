"""Any map as JSON values, decoded with the contract's own structures."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from enum import IntEnum, IntFlag
from ipaddress import IPv6Address
from itertools import islice
from struct import Struct
from typing import Any

from kinety import abi
from kinety.kernel.map import Map
from kinety.model.address import Prefix, unpack_address
from kinety.model.rule import Direction

from .rule_sets import RuleSets

_WORD = Struct("=I")
_COUNT = Struct("=Q")
_ADDRESS_BYTES = 16
_MAC_BYTES = 6
_UNSET = bytes(_ADDRESS_BYTES)

Row = dict[str, Any]
Decode = Callable[[bytes], Row]

_ENUMERATIONS: Mapping[str, type[IntEnum]] = {
    "verdict": abi.Verdict,
    "verdict_in_force": abi.Verdict,
    "direction": abi.Direction,
    "reason": abi.Reason,
    "kind": abi.EventKind,
}
_FLAGS: Mapping[str, type[IntFlag]] = {
    "Endpoint": abi.EndpointFlag,
    "ConntrackEntry": abi.ConntrackFlag,
}


def describe(structure: Any) -> Row:
    """A contract structure as JSON values: addresses and MACs as text, enumerators by name."""
    row: Row = {}
    for field in fields(structure):
        if field.name == "reserved":
            continue
        value = getattr(structure, field.name)
        if field.name == "flags" and type(structure).__name__ in _FLAGS:
            row["flags"] = _flag_names(_FLAGS[type(structure).__name__](value))
        elif field.name in _ENUMERATIONS:
            row[field.name] = _enumerator(_ENUMERATIONS[field.name], value)
        else:
            row[field.name] = _plain(value)
    return row


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        if len(value) == _ADDRESS_BYTES:
            return None if value == _UNSET else str(unpack_address(value))
        return value.hex(":") if len(value) == _MAC_BYTES else value.hex()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, int):
        return int(value)
    return describe(value)


def _enumerator(enumeration: type[IntEnum], value: int) -> str:
    return enumeration(value).name.lower() if value in set(enumeration) else str(int(value))


def _flag_names(flags: IntFlag) -> list[str]:
    return [name.lower() for flag in flags if (name := flag.name)]


def _word(name: str) -> Decode:
    return lambda packed: {name: _WORD.unpack(packed)[0]}


def _count(name: str) -> Decode:
    return lambda packed: {name: _COUNT.unpack(packed)[0]}


def _address(packed: bytes) -> Row:
    return {"address": str(unpack_address(packed))}


def _structure(kind: Any) -> Decode:
    return lambda packed: describe(kind.unpack(packed))


def _prefix(packed: bytes) -> Row:
    key = abi.IpcachePrefixKey.unpack(packed)
    prefix = Prefix(key.address, key.prefix_length)
    text = str(prefix) if prefix.length else str(IPv6Address(0)) + "/0"
    return {"prefix": text}


def _rule_set_key(packed: bytes) -> Row:
    key = abi.RuleSetKey.unpack(packed)
    return {
        "class": key.class_id,
        "prefix_length": key.prefix_length,
        "protocol": key.protocol,
        "port": key.port_high << 8 | key.port_low,
    }


def _reason_and_direction(packed: bytes) -> Row:
    reason, direction = divmod(_WORD.unpack(packed)[0], len(Direction))
    return {"reason": _enumerator(abi.Reason, reason), "direction": Direction(direction).name.lower()}


def _slot_and_direction(packed: bytes) -> Row:
    slot, direction = divmod(_WORD.unpack(packed)[0], len(Direction))
    return {"slot": slot, "direction": Direction(direction).name.lower()}


def _hook_slot(packed: bytes) -> Row:
    direction, slot = divmod(_WORD.unpack(packed)[0], abi.HOOK_SLOT_COUNT)
    return {"slot": slot, "direction": Direction(direction).name.lower()}


_ROWS: Mapping[str, tuple[Decode, Decode]] = {
    "endpoints": (_word("slot"), _structure(abi.Endpoint)),
    "local_addresses": (_address, _structure(abi.LocalAddress)),
    "rates": (_slot_and_direction, _structure(abi.Rate)),
    "ipcache_hosts": (_address, _structure(abi.IpcacheEntry)),
    "ipcache_prefixes": (_prefix, _structure(abi.IpcacheEntry)),
    "identity_classes": (_word("identity"), _word("class")),
    "conntrack": (_structure(abi.FlowKey), _structure(abi.ConntrackEntry)),
    "listeners": (_structure(abi.ListenerKey), _count("socket")),
    "proxy": (_structure(abi.ProxyKey), _structure(abi.ProxyEntry)),
    "fragments": (_structure(abi.FragmentKey), _structure(abi.FragmentPorts)),
    "node_state": (_word("row"), _structure(abi.NodeState)),
    "hooks": (_hook_slot, _word("program")),
    "shadow_counters": (_structure(abi.ShadowKey), _structure(abi.ShadowCounter)),
}
_PER_CPU: Mapping[str, tuple[Decode, Decode]] = {
    "counters": (_reason_and_direction, _structure(abi.Counter)),
    "rule_counters": (_word("rule"), _structure(abi.Counter)),
    "hook_counters": (_hook_slot, _structure(abi.Counter)),
    "lost_events": (_word("row"), _count("events")),
    "lost_shadows": (_word("row"), _count("packets")),
}
_RULE_SETS = "rule_sets"
NAMES = (*_ROWS, *_PER_CPU, _RULE_SETS)


def dump(name: str, maps: Mapping[str, Map], rule_sets: RuleSets, limit: int | None = None) -> list[Row]:
    """Rows of a map, at most ``limit``; array rows that are all zero are left out.

    Per-CPU rows are summed. ``rule_sets`` gives one row per row of each table in a slot.
    Raises KeyError for a name that is not in ``NAMES``.
    """
    if name == _RULE_SETS:
        rows: Iterator[Row] = _rule_set_rows(rule_sets)
    elif name in _PER_CPU:
        rows = _summed_rows(maps[name].items_per_cpu(), *_PER_CPU[name])
    else:
        key_of, value_of = _ROWS[name]
        array = name in ("endpoints", "rates", "node_state")
        items = maps[name].items()
        rows = (key_of(key) | value_of(value) for key, value in items if not array or any(value))
    return list(islice(rows, limit))


def _summed_rows(
    items: Iterable[tuple[bytes, list[bytes]]], key_of: Decode, value_of: Decode
) -> Iterator[Row]:
    for key, values in items:
        decoded = [value_of(value) for value in values if any(value)]
        if decoded:
            yield key_of(key) | {name: sum(row[name] for row in decoded) for name in decoded[0]}


def _rule_set_rows(rule_sets: RuleSets) -> Iterator[Row]:
    for slot in rule_sets.occupied():
        for key, value in sorted(rule_sets.rows(slot).items()):
            entry = describe(abi.RuleSetEntry.unpack(value))
            yield {"slot": slot} | _rule_set_key(key) | entry
