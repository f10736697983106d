"""Live rules with their numbers.

A rule is known by where it is written: policy and path. Its number outlives an edit of the policy, so
its counter goes on. A rule object, on the other hand, is kept only while it says the same; so equal
tuples of rule objects mean equal verdict tables, which is how subjects share them.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from types import MappingProxyType

from kinety.identity.allocation import Numbering
from kinety.identity.journal import Journal
from kinety.model.label import Labels
from kinety.model.rule import Action, Direction, Origin, Policy, PolicyKey, Rule, RuleId, Tier
from kinety.model.selector import EntitySelector, LabelSelector
from kinety.plan.term import Term, term_of
from kinety.policy.index import RuleIndex

_NOWHERE = Origin(PolicyKey("", "", ""), "", 0, "")
_POLICIES = Tier.NORMAL
#: Beyond any priority, so that tiers do not mix.
_PLACES = {Tier.ADMIN: -(1 << 32), Tier.BASELINE: 1 << 32}
_OPTION = PolicyKey("Option", "", "allow-localhost")

#: Sorts like the policy key, and faster.
PolicyName = tuple[str, str, str]


@dataclass(slots=True, eq=False)
class NumberedRule:
    """A live rule. ``rule`` may get another line of the file, nothing else of it changes.

    ``isolates``: its subjects are closed to what no rule names; only policies do that, no other tier.
    ``order``: of two rules, the lower is asked first. It is 0 for the rules of policies.
    """

    rule: Rule
    name: str
    number: RuleId
    term: Term
    isolates: bool = field(init=False)
    order: int = field(init=False)
    _digest: bytes = b""

    def __post_init__(self) -> None:
        rule = self.rule
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
        self._index = RuleIndex()
        self._numbering: Numbering[str] = Numbering(journal, 1, last_number, hints)
        self._rules: dict[PolicyName, Numbered] = {}
        self._gone: list[NumberedRule] = []
        self._by_number: dict[RuleId, Rule] = {}
        #: Rules that this change made or moved in their file, names of new ones, and numbers it ended.
        self.changed: dict[RuleId, Rule] = {}
        self.named: dict[RuleId, str] = {}
        self.removed: set[RuleId] = set()

    def begin(self) -> None:
        """A change begins."""
        self._gone = []
        self.changed = {}
        self.named = {}
        self.removed = set()

    def policies(self) -> Mapping[PolicyKey, Policy]:
        """Policies in force; read-only."""
        return self._index.policies

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
        numbered = self._number(rule.origin.policy, (rule,), ())
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
        if self._index.policies.get(policy.key) == policy:
            return before, before
        previous = self._index.upsert(policy)
        if previous is None:
            self._journal.did(self._index.remove, policy.key)
        else:
            self._journal.did(self._index.upsert, previous)
        after = self._number(policy.key, policy.rules, before)
        self._journal.put(self._rules, name, after)
        return before, after

    def remove(self, key: PolicyKey) -> Numbered:
        """Take a policy out of force. Returns its rules."""
        previous = self._index.remove(key)
        if previous is None:
            return ()
        self._journal.did(self._index.upsert, previous)
        before = self._journal.pop(self._rules, name_of(key))
        self._gone += before
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
        for each in self._gone:
            self._numbering.free(each.number)
            self._journal.pop(self._by_number, each.number)
            self.removed.add(each.number)

    def _number(self, key: PolicyKey, rules: tuple[Rule, ...], before: Numbered) -> Numbered:
        """Numbers for a policy's rules; what it said before keeps its number, or its object."""
        known = {each.name: each for each in before}
        seen: Counter[str] = Counter()
        after = []
        for rule in rules:
            seen[rule.origin.path] += 1
            repeated = f" #{count}" if (count := seen[rule.origin.path]) > 1 else ""
            after.append(self._renew(rule, f"{key} {rule.origin.path}{repeated}", known))
        self._gone += known.values()
        return tuple(after)

    def _renew(self, rule: Rule, name: str, known: dict[str, NumberedRule]) -> NumberedRule:
        former = known.pop(name, None)
        if former is not None and replace(former.rule, origin=_NOWHERE) == replace(rule, origin=_NOWHERE):
            if former.rule.origin != rule.origin:
                self._say(former.number, rule)
            self._journal.did(setattr, former, "rule", former.rule)
            former.rule = rule
            return former
        if former is None:
            number = RuleId(self._numbering.take(name))
            self.named[number] = name
        else:
            number = former.number
        self._say(number, rule)
        return NumberedRule(rule, name, number, term_of(rule, number))

    def _say(self, number: RuleId, rule: Rule) -> None:
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
