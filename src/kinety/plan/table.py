"""Verdict tables: a subject's rules in one direction, resolved for every class they name.

Subjects with the same rules share a table, and its id is a hash of those rules, so it is the same
after a restart. Classes a table does not name fall back to its rows for class 0; a class whose rows
would be the same as those is not written at all.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

from kinety.identity.dense import Dense
from kinety.identity.journal import Journal
from kinety.identity.members import among
from kinety.identity.multimap import Multimap
from kinety.identity.registry import Registry
from kinety.model.identity import UNNAMED_CLASS, ClassId, Identity
from kinety.model.rule import RuleId
from kinety.model.verdict import DEFAULT_DENY, RuleSet, RuleSetKey, Verdict, VerdictKind
from kinety.plan.change import RuleSetId
from kinety.plan.layer7_sets import Layer7Sets
from kinety.plan.resolve import Template, resolve
from kinety.plan.rule_book import Numbered, NumberedRule
from kinety.plan.rules_in_use import Peers, RulesInUse

DEFAULT_ALLOW = Verdict(VerdictKind.ALLOW)
SAYS_NOTHING = Template(())

Rows = dict[RuleSetKey, Verdict]


@dataclass(slots=True, eq=False)
class Table:
    """A live table. ``peers`` are the selections of each rule, None for a rule about any peer.

    ``templates`` say what is said of each class the table names; ``size`` counts their rows. Classes of
    which the same is said share one template: rows of their own, of sixty thousand classes, took 50 MiB.
    """

    id: RuleSetId
    rules: Numbered
    default: Verdict
    peers: tuple[Peers, ...]
    users: int = 0
    templates: dict[ClassId, Template] = field(default_factory=dict)
    size: int = 0
    #: The rules, as bits, that apply to every peer.
    anyone: int = field(init=False)
    _resolved: dict[int, Template] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.anyone = sum(1 << index for index, peers in enumerate(self.peers) if peers is None)

    def applying(self, identity: Identity) -> int:
        """The rules, as bits, that apply to one peer."""
        return sum(
            1 << index
            for index, peers in enumerate(self.peers)
            if peers is None or any(identity in each for each in peers)
        )

    def resolved(self, applying: int) -> Template:
        """Rows for peers to which these rules apply."""
        found = self._resolved.get(applying)
        if found is None:
            terms = tuple(self.rules[index].term for index in _ones(applying))
            found = self._resolved[applying] = _resolve(terms, self.default)
        return found


#: A table that replaces another says the same of most classes, and so do tables of other subjects.
_resolve = lru_cache(maxsize=1 << 14)(resolve)


class TableCache:
    """Every live table once, however many subjects it fits."""

    def __init__(self, journal: Journal, registry: Registry) -> None:
        self._journal = journal
        self._registry = registry
        self._live: dict[Numbered, Table] = {}
        self._by_id: dict[RuleSetId, Table] = {}
        self._rules: RulesInUse[Table] = RulesInUse(journal, registry)
        self._naming: Multimap[ClassId, Table] = Multimap(Dense())
        self._idle: dict[Table, None] = {}
        #: Tables that this change made, as they were then; rows it gave to others and took from any.
        self.made: dict[Table, RuleSet] = {}
        self.added: dict[RuleSetId, Rows] = {}
        self.taken: dict[RuleSetId, set[RuleSetKey]] = {}
        self.removed: set[RuleSetId] = set()
        #: Rows of the largest table that this change made or added to.
        self.largest = 0
        #: Content that tables redirect to; and pairs of rules that turned out to ask for two kinds at once.
        self.layer7_sets = Layer7Sets()
        self.conflicts: set[tuple[RuleId, RuleId]] = set()

    def __len__(self) -> int:
        return len(self._live)

    def live(self) -> Iterable[Table]:
        """Every live table."""
        return self._live.values()

    def get(self, table_id: RuleSetId) -> Table:
        """A live table. Raises KeyError."""
        return self._by_id[table_id]

    def begin(self) -> None:
        """A change begins."""
        self._idle = {}
        self.made = {}
        self.added = {}
        self.taken = {}
        self.removed = set()
        self.layer7_sets.begin()
        self.conflicts = set()

    def acquire(self, rules: Numbered) -> Table | None:
        """The table of some rules, for one more user; None for no rules. Rows follow in ``settle``."""
        if not rules:
            return None
        table = self._live.get(rules)
        if table is None:
            table = self._make(rules)
        self._use(table, 1)
        return table

    def release(self, table: Table | None) -> None:
        """One user less; the last one's leaving ends the table in ``retire``."""
        if table is not None:
            self._use(table, -1)
            if not table.users:
                self._idle[table] = None

    def settle(self) -> None:
        """Fill new tables, and teach the others the classes that this change made."""
        classes = self._registry.classes
        if len(self._live) > len(self.made):
            for class_id, parent in classes.created.items():
                if parent:
                    self._copy(parent, class_id)
                elif parent is None:
                    self._teach(class_id)
        chosen: dict[NumberedRule, list[int]] = {}
        for table in self.made:
            self._fill(table, chosen)
            self.made[table] = rule_set(table)
        touched = (*self.made, *(self._by_id[table_id] for table_id in self.added))
        self.largest = max((table.size for table in touched), default=0)

    def retire(self) -> None:
        """End tables that nobody uses any more."""
        gone = [table for table in self._idle if not table.users]
        for table in gone:
            self._leave(table)
            self._journal.did(self._enter, table)
            self.removed.add(table.id)
        for table in gone:
            self._rules.retire(table.rules)

    def forget(self, classes: Iterable[ClassId]) -> None:
        """Take back the rows of classes that nobody is in any more."""
        for class_id in classes:
            for table in self._naming.of(class_id):
                template = table.templates[class_id]
                self._remove(table, class_id)
                self._journal.did(self._insert, table, class_id, template)
                self.taken.setdefault(table.id, set()).update(_rows(class_id, template))

    def _make(self, rules: Numbered) -> Table:
        digest = blake2b(b"".join(each.digest for each in rules), digest_size=16).hexdigest()
        table = Table(RuleSetId(digest), rules, default_of(rules), self._rules.peers(rules))
        self._enter(table)
        self._journal.did(self._leave, table)
        self.made[table] = RuleSet()
        return table

    def _fill(self, table: Table, chosen: dict[NumberedRule, list[int]]) -> None:
        """Rows of a new table: for class 0, and for each class that its rules tell from it.

        ``chosen`` remembers, for one change, which classes' representatives a rule is about. Nothing is
        journaled: taking back a new table takes back its rows.
        """
        classes = self._registry.classes
        anyone = table.anyone
        self._insert(table, UNNAMED_CLASS, self._saying_of_others(table))
        applying: dict[int, int] = {}
        shared: dict[int, int] = {}  # with ten thousand rules these numbers are a kilobyte each
        for index, (rule, peers) in enumerate(zip(table.rules, table.peers, strict=True)):
            if peers is None:
                continue
            found = chosen.get(rule)
            if found is None:
                everybody = classes.representatives
                found = chosen[rule] = [one for each in peers for one in among(each.members, everybody)]
            for identity in found:
                rules = applying.get(identity, anyone) | 1 << index
                applying[identity] = shared.setdefault(rules, rules)
        said = {anyone: SAYS_NOTHING}
        for identity, rules in applying.items():
            template = said.get(rules)
            if template is None:
                template = said[rules] = self._saying(table, rules)
            if template is not SAYS_NOTHING:
                self._insert(table, classes.of(Identity(identity)), template)

    def _teach(self, class_id: ClassId) -> None:
        """Rows for a class of new identities, in tables with a rule that names them."""
        identity = self._registry.classes.representative(class_id)
        tables: dict[Table, None] = {}
        for selection in self._registry.matching(identity):
            tables |= self._rules.speaking(selection)
        for table in tables:
            if table not in self.made:
                template = self._saying(table, table.applying(identity))
                if template is not SAYS_NOTHING:
                    self._extend(table, class_id, template)

    def _copy(self, parent: ClassId, class_id: ClassId) -> None:
        """Rows for a class that was split from another, in tables that name the other."""
        for table in self._naming.of(parent):
            self._extend(table, class_id, table.templates[parent])

    def _extend(self, table: Table, class_id: ClassId, template: Template) -> None:
        """Let a table that is in force name a class."""
        self._insert(table, class_id, template)
        self._journal.did(self._remove, table, class_id)
        self.added.setdefault(table.id, {}).update(_rows(class_id, template))

    def _saying(self, table: Table, applying: int) -> Template:
        """What a table says of a class that these rules name; nothing when it says that of class 0 too."""
        template = table.resolved(applying)
        self.conflicts |= template.conflicts
        return SAYS_NOTHING if template.rows == table.resolved(table.anyone).rows else template

    def _saying_of_others(self, table: Table) -> Template:
        """What a table says of class 0, which stands for every class that it does not name."""
        template = table.resolved(table.anyone)
        self.conflicts |= template.conflicts
        if template.rows[0].verdict == DEFAULT_DENY:  # what a miss means anyway
            return Template(template.rows[1:], template.layer7_sets)
        return template

    def _insert(self, table: Table, class_id: ClassId, template: Template) -> None:
        table.templates[class_id] = template
        table.size += len(template.rows)
        self._naming.add(class_id, table)
        if template.layer7_sets:
            self.layer7_sets.use(template.layer7_sets)

    def _remove(self, table: Table, class_id: ClassId) -> None:
        template = table.templates.pop(class_id)
        table.size -= len(template.rows)
        self._naming.discard(class_id, table)
        if template.layer7_sets:
            self.layer7_sets.drop(template.layer7_sets)

    def _use(self, table: Table, count: int) -> None:
        table.users += count
        self._journal.did(setattr, table, "users", table.users - count)

    def _enter(self, table: Table) -> None:
        self._live[table.rules] = table
        self._by_id[table.id] = table
        self._rules.enter(table, table.rules)
        for class_id, template in table.templates.items():
            self._naming.add(class_id, table)
            self.layer7_sets.use(template.layer7_sets)

    def _leave(self, table: Table) -> None:
        del self._live[table.rules], self._by_id[table.id]
        self._rules.leave(table, table.rules)
        for class_id, template in table.templates.items():
            self._naming.discard(class_id, table)
            self.layer7_sets.drop(template.layer7_sets)


def default_of(rules: Numbered) -> Verdict:
    """What rules say of traffic that none of them names: deny as soon as one isolates."""
    return DEFAULT_DENY if any(each.isolates for each in rules) else DEFAULT_ALLOW


def rule_set(table: Table) -> RuleSet:
    """A table's rows, for the kernel."""
    rows: Rows = {}
    for class_id, template in table.templates.items():
        rows.update(_rows(class_id, template))
    return RuleSet(rows)


def _ones(bits: int) -> Iterator[int]:
    """Places of the ones of a number, ascending. Of a number as long as a table, shifts would be copies."""
    digits = f"{bits:b}"[::-1]
    place = digits.find("1")
    while place >= 0:
        yield place
        place = digits.find("1", place + 1)


def _rows(class_id: ClassId, template: Template) -> Rows:
    return {
        RuleSetKey(class_id, bits, protocol, port): verdict for bits, protocol, port, verdict in template.rows
    }
