"""Rules of policy routing, and the route that delivers everything to this host itself.

Source: rtnetlink(7), ip-rule(8), linux/fib_rules.h.
"""

import socket
import struct
from dataclasses import dataclass

from kinety.kernel import netlink_message as wire
from kinety.kernel.netlink import Batch

_NEWROUTE, _DELROUTE, _NEWRULE, _DELRULE = 24, 25, 32, 33
_EXCL, _CREATE = 0x200, 0x400
_RULE = struct.Struct("=BBBBBBBBI")
_INCOMING, _GOTO, _PRIORITY, _MARK, _TABLE, _MASK = 3, 4, 6, 10, 15, 16
_TO_TABLE, _TO_RULE, _NOTHING, _BLACKHOLE = 1, 2, 3, 6
_ROUTE = struct.Struct("=BBBBBBBBI")
_ROUTE_INTERFACE, _ROUTE_TABLE, _STATIC, _SCOPE_HOST, _LOCAL = 4, 15, 4, 254, 2
_LOOPBACK = 1
#: In place of a table's number, where that has more than 8 bits.
_ELSEWHERE = 252

FAMILIES = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True, slots=True)
class Rule:
    """Packets with ``mark`` under ``mask`` look in ``table``, go on at the rule of priority ``goto``, or end.

    With none of these it does nothing, but another may lead to it. ``incoming`` names the interface that a
    packet came in by; ``lo`` is for those of this host.
    """

    priority: int
    mark: int = 0
    mask: int = 0
    incoming: str = ""
    table: int = 0
    goto: int = 0
    blackhole: bool = False


def rule_add(batch: Batch, family: int, rule: Rule) -> None:
    """Add a rule; FileExistsError when it is there."""
    batch.add(f"add rule {rule}", _NEWRULE, _CREATE | _EXCL, *_rule(family, rule))


def rule_delete(batch: Batch, family: int, rule: Rule) -> None:
    """Remove a rule; FileNotFoundError when it is not there."""
    batch.add(f"remove rule {rule}", _DELRULE, 0, *_rule(family, rule))


def local_route_add(batch: Batch, family: int, table: int) -> None:
    """Have whatever looks in a table delivered to this host; FileExistsError when it is there."""
    batch.add(f"add local route to table {table}", _NEWROUTE, _CREATE | _EXCL, *_route(family, table))


def local_route_delete(batch: Batch, family: int, table: int) -> None:
    """The opposite; ProcessLookupError when it is not there."""
    batch.add(f"remove local route of table {table}", _DELROUTE, 0, *_route(family, table))


def _rule(family: int, rule: Rule) -> tuple[bytes, ...]:
    action = (
        _TO_TABLE if rule.table else _TO_RULE if rule.goto else _BLACKHOLE if rule.blackhole else _NOTHING
    )
    parts = [
        _RULE.pack(family, 0, 0, 0, _ELSEWHERE if rule.table else 0, 0, 0, action, 0),
        wire.number(_PRIORITY, rule.priority),
    ]
    if rule.mask:
        parts += [wire.number(_MARK, rule.mark), wire.number(_MASK, rule.mask)]
    if rule.incoming:
        parts.append(wire.text(_INCOMING, rule.incoming))
    if rule.table:
        parts.append(wire.number(_TABLE, rule.table))
    if rule.goto:
        parts.append(wire.number(_GOTO, rule.goto))
    return tuple(parts)


def _route(family: int, table: int) -> tuple[bytes, ...]:
    return (
        _ROUTE.pack(family, 0, 0, 0, _ELSEWHERE, _STATIC, _SCOPE_HOST, _LOCAL, 0),
        wire.number(_ROUTE_TABLE, table),
        wire.number(_ROUTE_INTERFACE, _LOOPBACK),
    )
