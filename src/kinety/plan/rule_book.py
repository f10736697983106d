"""Live rules with their numbers.

A rule is known by where it is written: policy and path. Its number outlives an edit of the policy, so
its counter goes on. A rule object, on the other hand, is kept only while it says the same; so equal
tuples of rule objects mean equal verdict tables, which is how subjects share them.

A rule that names what the directory tells of is several rule objects, its parts, under one number.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from types import MappingProxyType

from kinety.identity.allocation import Numbering
from kinety.identity.journal import Journal
from kinety.model.label import Labels
from kinety.model.rule import Action, Direction, Mode, Origin, Policy, PolicyKey, Rule, RuleId, Tier
from kinety.model.selector import EntitySelector, LabelSelector
from kinety.plan.directory import Directory
from kinety.plan.term import Term, term_of
from kinety.policy.index import RuleIndex

_NOWHERE = Origin(PolicyKey("", "", ""), "", 0, "")
_POLICIES, _ENFORCED = Tier.NORMAL, Mode.ENFORCED
#: Beyond any priority, so that tiers do not mix.
_PLACES = {Tier.ADMIN: -(1 << 32), Tier.BASELINE: 1 << 32}
_OPTION = PolicyKey("Option", "", "allow-localhost")

#: Sorts like the policy key, and faster.
PolicyName = tuple[str, str, str]


@dataclass(slots=True, eq=False)
class NumberedRule:
    """A live rule, or a part of one. ``rule`` may get another line of the file, nothing else changes.

    ``isolates``: its subjects are closed to what no rule names; only policies do that, no other tier.
    ``order``: of two rules, the lower is asked first. It is 0 for the rules of policies.
    ``in_force``: not in shadow tables only.
    """

    rule: Rule
    name: str
    number: RuleId
    term: Term
    isolates: bool = field(init=False)
    order: int = field(init=False)
    in_force: bool = field(init=False)
    _digest: bytes = b""

    def __post_init__(self) -> None:
        rule = self.rule
        self.in_force = rule.mode is _ENFORCED
        if rule.tier is _POLICIES:
            self.isolates, self.order = rule.default_deny, 0
        else:
            self.isolates, self.order = False, _PLACES[rule.tier] + rule.priority

    @property
    def digest(self) -> bytes:
        """Hash of all the rule says, and of its name: two rule objects never have the same one.

        The subject is in no verdict table, but a policy may change nothing else. Then the table that
        goes and the one that comes have the same content, and must not have the same name.
        """
        if not self._digest:
            said = (self.name, replace(self.rule, origin=_NOWHERE))
            self._digest = blake2b(repr(said).encode(), digest_size=16).digest()
        return self._digest


Numbered = tuple[NumberedRule, ...]


class RuleBook:
    """Policies in force, rule by rule."""

    def __init__(self, journal: Journal, last_number: int, hints: Mapping[str, int]) -> None:
        self._journal = journal
        self._written: dict[PolicyKey, Policy] = {}
        self._index = RuleIndex()
        self.directory = Directory(journal)
        self._numbering: Numbering[str] = Numbering(journal, 1, last_number, hints)
        self._rules: dict[PolicyName, Numbered] = {}
        self._gone: list[RuleId] = []
        self._by_number: dict[RuleId, Rule] = {}
        #: Policies that are not in force.
        self.shadowing: dict[PolicyKey, None] = {}
        #: Rules that this change made or moved in their file, names of new ones, those it gave another mode,
        #: and numbers it ended.
        self.changed: dict[RuleId, Rule] = {}
        self.named: dict[RuleId, str] = {}
        self.turned: set[RuleId] = set()
        self.removed: set[RuleId] = set()

    def begin(self) -> None:
        """A change begins."""
        self._gone = []
        self.directory.begin()
        self.changed = {}
        self.named = {}
        self.turned = set()
        self.removed = set()

    def policies(self) -> Mapping[PolicyKey, Policy]:
        """Policies in force; read-only."""
        return MappingProxyType(self._written)

    def rules(self) -> Mapping[RuleId, Rule]:
        """Every rule by number; a live view."""
        return MappingProxyType(self._by_number)

    def names(self) -> dict[str, RuleId]:
        """Every rule's name and number, for the next run."""
        return {each.name: each.number for numbered in self._rules.values() for each in numbered}

    def __len__(self) -> int:
        return len(self._numbering)

    def option(self, rule: Rule) -> NumberedRule:
        """Number a rule that no policy holds."""
        numbered = self._number(Policy(rule.origin.policy, (rule,)), [(rule,)], ())
        self._journal.put(self._rules, name_of(rule.origin.policy), numbered)
        return numbered[0]

    def upsert(self, policy: Policy) -> tuple[Numbered, Numbered]:
        """Put a policy into force. Returns its rules before and after.

        Raises ValueError for a rule that says it is another policy's, and for one that cannot be.
        """
        name = name_of(policy.key)
        before = self._rules.get(name, ())
        for rule in policy.rules:
            if rule.origin.policy != policy.key:
                raise ValueError(f"{policy.key}: rule {rule.origin.path} says it is of {rule.origin.policy}")
        parts = [self.directory.look_up(rule) for rule in policy.rules]
        looked_up = policy
        if any(part != (rule,) for part, rule in zip(parts, policy.rules, strict=True)):
            looked_up = Policy(policy.key, tuple(part for each in parts for part in each))
        written = self._written.get(policy.key)
        if written == policy and self._index.policies[policy.key] == looked_up:
            return before, before
        previous = self._index.upsert(looked_up)
        if previous is None:
            self._journal.did(self._index.remove, policy.key)
        else:
            self._journal.did(self._index.upsert, previous)
        if written is not None:
            self.directory.unfile(written)
        self.directory.file(policy)
        self._journal.put(self._written, policy.key, policy)
        self._file_mode(policy.key, policy.mode)
        after = self._number(policy, parts, before)
        self._journal.put(self._rules, name, after)
        return before, after

    def remove(self, key: PolicyKey) -> Numbered:
        """Take a policy out of force. Returns its rules."""
        previous = self._index.remove(key)
        if previous is None:
            return ()
        self._journal.did(self._index.upsert, previous)
        self.directory.unfile(self._journal.pop(self._written, key))
        self._file_mode(key, _ENFORCED)
        before = self._journal.pop(self._rules, name_of(key))
        self._gone += {each.number: None for each in before}
        return before

    def selecting(self, labels: Labels) -> dict[PolicyName, Numbered]:
        """Rules that select a subject, by policy."""
        chosen: dict[PolicyKey, set[int]] = {}
        for rule in self._index.rules_for(labels):
            chosen.setdefault(rule.origin.policy, set()).add(id(rule))
        return {
            (name := name_of(key)): tuple(each for each in self._rules[name] if id(each.rule) in wanted)
            for key, wanted in chosen.items()
        }

    def retire(self) -> None:
        """Free the numbers of rules that are gone."""
        for number in self._gone:
            self._numbering.free(number)
            self._journal.pop(self._by_number, number)
            self.removed.add(number)

    def _number(self, policy: Policy, parts: Sequence[tuple[Rule, ...]], before: Numbered) -> Numbered:
        """Numbers for a policy's rules; what it said before keeps its number, or its object."""
        known: defaultdict[str, list[NumberedRule]] = defaultdict(list)
        for each in before:
            known[each.name].append(each)
        seen: Counter[str] = Counter()
        after: list[NumberedRule] = []
        for rule, its_parts in zip(policy.rules, parts, strict=True):
            seen[rule.origin.path] += 1
            repeated = f" #{count}" if (count := seen[rule.origin.path]) > 1 else ""
            name = f"{policy.key} {rule.origin.path}{repeated}"
            former = known.pop(name, [])
            number = former[0].number if former else self._new_number(name)
            if self._by_number.get(number) != rule:
                self._say(number, rule)
            after += [self._renew(part, name, number, former) for part in its_parts]
        self._gone += [former[0].number for former in known.values()]
        return tuple(after)

    def _new_number(self, name: str) -> RuleId:
        number = RuleId(self._numbering.take(name))
        self.named[number] = name
        return number

    def _renew(self, part: Rule, name: str, number: RuleId, former: Sequence[NumberedRule]) -> NumberedRule:
        """The object that said the same before, or a new one."""
        for each in former:
            if replace(each.rule, origin=part.origin) == part:
                self._journal.did(setattr, each, "rule", each.rule)
                each.rule = part
                return each
        return NumberedRule(part, name, number, term_of(part, number))

    def _file_mode(self, key: PolicyKey, mode: Mode) -> None:
        if mode is not _ENFORCED:
            self._journal.put(self.shadowing, key, None)
        elif key in self.shadowing:
            self._journal.pop(self.shadowing, key)

    def _say(self, number: RuleId, rule: Rule) -> None:
        former = self._by_number.get(number)
        if former is not None and former.mode is not rule.mode:
            self.turned.add(number)
        self._journal.put(self._by_number, number, rule)
        self.changed[number] = rule


def name_of(key: PolicyKey) -> PolicyName:
    """The policy's place in the order of policies."""
    return (key.kind, key.namespace, key.name)


#: The node may reach its own endpoints, for health checks, unless a rule denies it.
ALLOW_LOCALHOST = Rule(
    LabelSelector(),
    Direction.INGRESS,
    Action.ALLOW,
    (EntitySelector("host"),),
    None,
    False,
    Origin(_OPTION, "(option)", 0, "allow-localhost"),
)
