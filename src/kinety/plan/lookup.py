"""The offline judge: the look-up that the kernel does, on the rows that the kernel has."""

from collections.abc import Iterable

from kinety.identity.registry import Registry
from kinety.model.identity import UNNAMED_CLASS, ClassId, Identity
from kinety.model.verdict import DEFAULT_DENY, Verdict
from kinety.plan.resolve import Row, Template, resolve
from kinety.plan.rule_book import Numbered
from kinety.plan.table import DEFAULT_ALLOW, SAYS_NOTHING, Table, default_of

_PROTOCOL_BITS = 8
_ALL_BITS = 24


def judge(table: Table | None, class_id: ClassId, protocol: int, port: int) -> Verdict:
    """The longest matching row of the class; of class 0 for a class the table does not name.

    No table allows everything, a table without a matching row denies.
    """
    if table is None:
        return DEFAULT_ALLOW
    return longest(template_for(table, class_id).rows, protocol, port)


def template_for(table: Table, class_id: ClassId) -> Template:
    """What the kernel has to say of a peer of a class; no rows, where a miss denies."""
    return table.templates.get(class_id) or table.templates.get(UNNAMED_CLASS, SAYS_NOTHING)


def judge_afresh(rules: Numbered, registry: Registry, peer: Identity, protocol: int, port: int) -> Verdict:
    """What rules say of a peer, without a table; for subjects that may not exist."""
    return longest(template_afresh(rules, registry, peer).rows, protocol, port)


def template_afresh(rules: Numbered, registry: Registry, peer: Identity) -> Template:
    """What a table of these rules would say of a peer."""
    terms = [
        each.term
        for each in rules
        if each.rule.peers is None or any(registry.selects(one, peer) for one in each.rule.peers)
    ]
    return resolve(terms, default_of(rules))


def longest(rows: Iterable[Row], protocol: int, port: int) -> Verdict:
    """The verdict of the longest row of a class that matches; default deny when none does."""
    best, verdict = -1, DEFAULT_DENY
    for row in rows:
        if row.bits > best and _holds(row, protocol, port):
            best, verdict = row.bits, row.verdict
    return verdict


def _holds(row: Row, protocol: int, port: int) -> bool:
    if row.bits < _PROTOCOL_BITS:
        return True
    free = _ALL_BITS - row.bits
    return row.protocol == protocol and row.port >> free == port >> free
