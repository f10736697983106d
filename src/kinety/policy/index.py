"""Which rules select a subject, without looking at the rules that do not.

Every rule's subject is filed under one thing a label set must have for it to match: a key with
one of some values (In), or failing that a key (Exists). A look-up then visits the bins of the
subject's own labels and no others. Two habits keep bins small. Rules with equal subjects share
one entry, so a selector is evaluated once however many rules it has. A selector with several
candidate requirements goes where the fewest others are at that moment: filing everything under
the first would put all policies of a namespace into that namespace's bin, which every endpoint
of the namespace visits. Where a selector is filed changes cost, never the answer.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType

from kinety.model.label import Labels
from kinety.model.rule import Policy, PolicyKey, Rule
from kinety.model.selector import LabelSelector, Operator, Requirement

#: What a selector is filed under: a key and a value, or a key alone (value None).
_Bin = tuple[str, str | None]


@dataclass(slots=True)
class _Subject:
    """One distinct subject selector, the bins it is filed in, and its rules by policy."""

    bins: tuple[_Bin, ...]
    rules: dict[PolicyKey, tuple[Rule, ...]] = field(default_factory=dict)


class RuleIndex:
    """Live policies, found by the labels of the endpoint they select."""

    def __init__(self, policies: Iterable[Policy] = ()) -> None:
        self._policies: dict[PolicyKey, Policy] = {}
        self._subjects: dict[LabelSelector, _Subject] = {}
        self._bins: defaultdict[_Bin, dict[LabelSelector, None]] = defaultdict(dict)
        #: Subjects that require nothing to be present: `{}`, or only NotIn and DoesNotExist.
        self._unfiled: dict[LabelSelector, None] = {}
        for policy in policies:
            self.upsert(policy)

    @property
    def policies(self) -> Mapping[PolicyKey, Policy]:
        """The live policies; a read-only view."""
        return MappingProxyType(self._policies)

    def upsert(self, policy: Policy) -> Policy | None:
        """Add a policy, or replace the one of the same key. Returns the one it replaced."""
        previous = self.remove(policy.key)
        self._policies[policy.key] = policy
        by_subject: defaultdict[LabelSelector, list[Rule]] = defaultdict(list)
        for rule in policy.rules:
            by_subject[rule.subject].append(rule)
        for selector, rules in by_subject.items():
            self._file(selector).rules[policy.key] = tuple(rules)
        return previous

    def remove(self, key: PolicyKey) -> Policy | None:
        """Forget a policy. Returns it, or None when there was none."""
        policy = self._policies.pop(key, None)
        if policy is not None:
            for selector in {rule.subject: None for rule in policy.rules}:
                subject = self._subjects[selector]
                del subject.rules[key]
                if not subject.rules:
                    self._unfile(selector, subject)
        return policy

    def rules_for(self, labels: Labels) -> tuple[Rule, ...]:
        """Every rule whose subject matches a label set, by policy key and then as written."""
        found: dict[PolicyKey, list[tuple[Rule, ...]]] = {}
        for selector in self._candidates(labels):
            if selector.matches(labels):
                for key, rules in self._subjects[selector].rules.items():
                    found.setdefault(key, []).append(rules)
        ordered: list[Rule] = []
        for key in sorted(found, key=_sort_key):
            runs = found[key]
            if len(runs) == 1:
                ordered.extend(runs[0])
            else:
                # Several subjects of one policy (`specs`): only the policy knows how they interleave.
                subjects = {run[0].subject for run in runs}
                ordered.extend(rule for rule in self._policies[key].rules if rule.subject in subjects)
        return tuple(ordered)

    def subject_selectors(self) -> AbstractSet[LabelSelector]:
        """The distinct subjects of all rules; a live view."""
        return self._subjects.keys()

    def _candidates(self, labels: Labels) -> Iterator[LabelSelector]:
        yield from self._unfiled
        keys = {label.key for label in labels}
        pairs = {(label.key, label.value) for label in labels}
        seen: set[LabelSelector] = set()
        for place in (*pairs, *((key, None) for key in keys)):
            for selector in self._bins.get(place, ()):
                if len(self._subjects[selector].bins) == 1:
                    yield selector
                elif selector not in seen:
                    seen.add(selector)
                    yield selector

    def _file(self, selector: LabelSelector) -> _Subject:
        subject = self._subjects.get(selector)
        if subject is None:
            subject = self._subjects[selector] = _Subject(self._choose(selector))
            for place in subject.bins:
                self._bins[place][selector] = None
            if not subject.bins:
                self._unfiled[selector] = None
        return subject

    def _unfile(self, selector: LabelSelector, subject: _Subject) -> None:
        del self._subjects[selector]
        self._unfiled.pop(selector, None)
        for place in subject.bins:
            filed = self._bins[place]
            del filed[selector]
            if not filed:
                del self._bins[place]

    def _choose(self, selector: LabelSelector) -> tuple[_Bin, ...]:
        """The bins of the requirement that is cheapest to file under; none if nothing must be present."""
        options = [
            bins for requirement in selector.requirements if (bins := _bins_of(requirement)) is not None
        ]
        if not options:
            return ()
        return min(
            options, key=lambda bins: max((len(self._bins.get(place, ())) for place in bins), default=-1)
        )


def _bins_of(requirement: Requirement) -> tuple[_Bin, ...] | None:
    """Where a requirement lets a selector be filed; None when an absent key satisfies it."""
    match requirement.operator:
        case Operator.IN:
            return tuple((requirement.key, value) for value in requirement.values)
        case Operator.EXISTS:
            return ((requirement.key, None),)
        case Operator.NOT_IN | Operator.DOES_NOT_EXIST:
            return None


def _sort_key(key: PolicyKey) -> tuple[str, str, str]:
    return (key.kind, key.namespace, key.name)
