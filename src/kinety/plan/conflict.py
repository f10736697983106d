"""Rules that cannot both be carried out: one kind of content for a peer at a port, and another kind.

A listener reads one protocol. Who applies such rules is told; where they only come to meet later, by an
endpoint that both select, what they name is denied (`kinety.plan.contest`).
"""

from collections.abc import Iterable

from kinety.model.layer7 import Layer7
from kinety.model.rule import Rule, RuleId
from kinety.plan.rule_book import RuleBook
from kinety.policy.error import Finding, PolicyError

_WORDS = {"http": "HTTP requests", "dns": "DNS questions", "server_names": "TLS server names"}


def refuse_conflicts(pairs: Iterable[tuple[RuleId, RuleId]], book: RuleBook) -> None:
    """Raises PolicyError for each pair of which this change brought a rule."""
    findings = set()
    for pair in pairs:
        brought = [each for each in pair if each in book.changed]
        if brought:
            last = max(brought, key=lambda number: _place(book.rules()[number]))
            other = pair[pair[0] == last]
            findings.add(_finding(book.rules()[last], book.rules()[other]))
    if findings:
        raise PolicyError(sorted(findings))


def _place(rule: Rule) -> tuple[str, int]:
    return rule.origin.file, rule.origin.line


def _finding(rule: Rule, other: Rule) -> Finding:
    where, there = rule.origin, other.origin
    return Finding(
        where.file,
        where.line,
        0,
        where.path,
        f"asks for {_asked(rule.layer7)} of a peer and port of which {there} ({there.policy} {there.path})"
        f" asks for {_asked(other.layer7)}",
        "name other ports, or peers that the other rule does not name",
    )


def _asked(layer7: Layer7 | None) -> str:
    return " and ".join(_WORDS[kind] for kind in sorted(layer7.kinds)) if layer7 is not None else "nothing"
