"""Rules that some table has: their peers as selections, live exactly as long.

Tables share rules: a changed policy gives a subject another table, of which all rules but one are those
of the table before. So selections belong to rules, and what a new table costs is its new rules.
"""

from typing import Generic, TypeVar

from kinety.identity.journal import Journal
from kinety.identity.multimap import Multimap
from kinety.identity.registry import Registry
from kinety.identity.selection import Selection
from kinety.plan.rule_book import Numbered, NumberedRule

#: Whom a rule is about; None: about everybody.
Peers = tuple[Selection, ...] | None
_Table = TypeVar("_Table")


class RulesInUse(Generic[_Table]):
    """Tables by rule, and rules by the selections of their peers."""

    def __init__(self, journal: Journal, registry: Registry) -> None:
        self._journal = journal
        self._registry = registry
        self._peers: dict[NumberedRule, Peers] = {}
        self._tables: Multimap[NumberedRule, _Table] = Multimap()
        self._speaking: Multimap[Selection, NumberedRule] = Multimap()

    def peers(self, rules: Numbered) -> tuple[Peers, ...]:
        """The peers of rules that a table is about to have."""
        return tuple([self._peers[rule] if rule in self._peers else self._begin(rule) for rule in rules])

    def enter(self, table: _Table, rules: Numbered) -> None:
        """A table has these rules, whose ``peers`` were asked for."""
        for rule in rules:
            self._tables.add(rule, table)

    def leave(self, table: _Table, rules: Numbered) -> None:
        """A table has these rules no more; ``retire`` is due, unless this takes ``enter`` back."""
        for rule in rules:
            self._tables.discard(rule, table)

    def retire(self, rules: Numbered) -> None:
        """Let go of the peers of those rules that no table has any more."""
        for rule in rules:
            if rule in self._peers and rule not in self._tables:
                peers = self._journal.pop(self._peers, rule)
                self._unspeak(rule, peers)
                self._journal.did(self._speak, rule, peers)
                for selection in peers or ():
                    self._registry.unselect(selection)

    def speaking(self, selection: Selection) -> dict[_Table, None]:
        """Tables with a rule about this selection."""
        return {table: None for rule in self._speaking.of(selection) for table in self._tables.of(rule)}

    def _begin(self, rule: NumberedRule) -> Peers:
        peers = None if rule.rule.peers is None else tuple(map(self._registry.select, rule.rule.peers))
        self._journal.put(self._peers, rule, peers)
        self._speak(rule, peers)
        self._journal.did(self._unspeak, rule, peers)
        return peers

    def _speak(self, rule: NumberedRule, peers: Peers) -> None:
        for selection in peers or ():
            self._speaking.add(selection, rule)

    def _unspeak(self, rule: NumberedRule, peers: Peers) -> None:
        for selection in peers or ():
            self._speaking.discard(selection, rule)
