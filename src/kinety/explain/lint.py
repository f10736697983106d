"""What is odd about policies that are not wrong: each with its line, the reason, and what to do.

==============  ==================================================================================
``shadowed``    a rule that never decides, because another one always decides before it
``redundant``   a rule that could go: another one says all that it says
``nobody``      a selector that selects nobody there is, with the label that was probably meant
``sealed``      endpoints that nothing may reach: isolated, and no rule lets anything in
``covers-pods`` a CIDR that holds addresses of endpoints, which a CIDR never selects
``inside``      a DNS name with an address of an endpoint or of the node, which a name never selects
``unheard``     a rule by DNS name, of an endpoint whose questions to name servers no rule is about
==============  ==================================================================================

The first two hold whoever there is. The others are about who is known, and are silent when nobody is.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kinety.explain.condition import selector_text
from kinety.explain.lint_names import leading_inside, unheard
from kinety.explain.overlap import rule_covers
from kinety.explain.vocabulary import Vocabulary
from kinety.model.address import Prefix
from kinety.model.rule import Action, Direction, Mode, Origin, Rule, Tier
from kinety.model.selector import CidrSelector, LabelSelector, Operator
from kinety.model.verdict import VerdictKind
from kinety.plan.engine import Engine
from kinety.plan.table import Table


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Something odd about a rule: which check found it, the reason, and what to do, which may be empty."""

    check: str
    origin: Origin
    message: str
    hint: str = ""


def lint(engine: Engine) -> tuple[Suspicion, ...]:
    """Everything that is odd about the policies in force, by file and line."""
    rules = [rule for policy in engine.policies.values() for rule in policy.rules]
    found = set(_covered([rule for rule in rules if rule.mode is Mode.ENFORCED]))
    if engine.endpoints:
        found.update(_nobody(engine, rules))
        found.update(_sealed(engine))
        found.update(_covering_pods(engine, rules))
        found.update(_naming(engine))
    return tuple(sorted(found, key=_place))


def _place(each: Suspicion) -> tuple[object, ...]:
    return each.origin.file, each.origin.line, each.origin.path, each.check, each.message


# Rules against rules


def _covered(rules: list[Rule]) -> Iterator[Suspicion]:
    """Rules that another one takes all of."""
    about = _BySubject(rules)
    place = {id(rule): index for index, rule in enumerate(rules)}
    asking = {rule.direction for rule in rules if rule.layer7 is not None}
    passing = {rule.direction for rule in rules if rule.action is Action.PASS and rule.tier is Tier.ADMIN}
    for rule in rules:
        if rule.peers == () and not rule.references:
            continue  # it is there to isolate
        for other in about.around(rule):
            if other is rule or not rule_covers(other, rule):
                continue
            twins = rule_covers(rule, other)
            leaves = other.tier is Tier.ADMIN is not rule.tier and rule.direction in passing
            if not leaves and _decides_before(other, rule, place):
                message = f"never decides: {_said(other)} names all that it names, and goes before"
                yield Suspicion("shadowed", rule.origin, message, "remove it, or narrow the other one")
                break
            # Beside rules about content it matters how many ports a rule is about.
            alike = _says_the_same(other, rule) and (
                rule.direction not in asking or other.ports == rule.ports
            )
            if alike and not (twins and place[id(other)] > place[id(rule)]):
                message = f"could go: {_said(other)} says all that it says"
                yield Suspicion("redundant", rule.origin, message, "remove it, or narrow the other one")
                break


def _said(rule: Rule) -> str:
    return f"{rule.origin} ({rule.origin.path}, {rule.action.value})"


def _decides_before(other: Rule, rule: Rule, place: dict[int, int]) -> bool:
    """Whether a rule that names all that another names leaves it nothing to decide."""
    if other.action is Action.PASS and rule.tier is not Tier.NORMAL:
        return other.tier is rule.tier and _order(other, place) < _order(rule, place)
    if other.action is Action.PASS or other.layer7 is not None:
        return False
    if other.tier is not rule.tier:
        return other.tier is Tier.ADMIN
    if rule.tier is Tier.NORMAL:
        return other.action is Action.DENY and rule.action is Action.ALLOW
    return _order(other, place) < _order(rule, place)


def _order(rule: Rule, place: dict[int, int]) -> tuple[object, ...]:
    return rule.priority, rule.origin.policy, place[id(rule)]


def _says_the_same(other: Rule, rule: Rule) -> bool:
    return (
        (other.tier, other.action, other.layer7, other.priority)
        == (rule.tier, rule.action, rule.layer7, rule.priority)
        and (other.default_deny or not rule.default_deny)
        and (not rule.log or rule.log == other.log)
    )


class _BySubject:
    """Rules by something that whoever they select must carry, so that few are compared with each other."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._bins: dict[tuple[str, str] | None, list[Rule]] = defaultdict(list)
        for rule in rules:
            for place in _bins(rule.subject):
                self._bins[place].append(rule)

    def around(self, rule: Rule) -> Iterator[Rule]:
        """Rules whose subjects may hold all of another rule's."""
        yield from self._bins.get(None, ())
        seen = {(each.key, value) for each in rule.subject.requirements for value in (*each.values, "")}
        found = {id(each): each for place in seen for each in self._bins.get(place, ())}
        yield from found.values()


def _bins(selector: LabelSelector) -> list[tuple[str, str] | None]:
    """Where a selector is found: under the values of its most telling requirement, or with all others."""
    telling = [each for each in selector.requirements if each.operator is Operator.IN]
    if telling:
        best = max(telling, key=lambda each: (not each.key.startswith("io."), -len(each.values)))
        return [(best.key, value) for value in best.values]
    return [(selector.requirements[0].key, "")] if selector.requirements else [None]


# Rules against who there is


def _nobody(engine: Engine, rules: Iterable[Rule]) -> Iterator[Suspicion]:
    """Selectors that select nobody."""
    registry = engine.registry
    words = Vocabulary(registry.values())
    empty: dict[LabelSelector, bool] = {}
    for rule in rules:
        for what, selectors in (("the policy", (rule.subject,)), ("the rule", rule.peers or ())):
            for selector in selectors:
                if not isinstance(selector, LabelSelector):
                    continue
                if selector not in empty:
                    empty[selector] = not registry.carriers(selector)
                if empty[selector]:
                    why = words.unknown(selector) or "nobody has all of it"
                    message = f"{what} is about nobody there is: {selector_text(selector)}; {why}"
                    yield Suspicion("nobody", rule.origin, message, words.meant(selector))


def _sealed(engine: Engine) -> Iterator[Suspicion]:
    """Isolated endpoints that no rule lets anything reach."""
    sealed: dict[Origin, list[str]] = defaultdict(list)
    for subject in engine.subjects.values():
        table = subject.tables[Direction.INGRESS]
        if table is not None and subject.endpoints and not _lets_in(table):
            first = next((each.rule.origin for each in table.rules if each.isolates), None)
            if first is not None:
                sealed[first] += (str(engine.endpoints[each]) for each in subject.endpoints)
    for origin, names in sealed.items():
        message = f"isolates {_some(sorted(names))}, and no rule lets anything in"
        yield Suspicion("sealed", origin, message, "write an ingress rule that names who may come in")


def _lets_in(table: Table) -> bool:
    """Whether a rule of a policy, the agent's option aside, lets somebody in."""
    written = {each.number for each in table.rules if each.rule.origin.line}
    return any(
        row.verdict.kind is not VerdictKind.DENY and row.verdict.rule in written
        for template in table.templates.values()
        for row in template.rows
    )


def _covering_pods(engine: Engine, rules: Iterable[Rule]) -> Iterator[Suspicion]:
    """CIDRs that hold addresses of endpoints; all of a family is meant as the world, and left alone."""
    held = [
        (Prefix(address, 128), str(each))
        for each in engine.endpoints.values()
        for address in (each.ipv4, each.ipv6)
        if address is not None
    ]
    inside: dict[CidrSelector, list[str]] = {}
    for rule in rules:
        for peer in rule.peers or ():
            if not isinstance(peer, CidrSelector) or peer.prefix.length in (0, 96):
                continue
            if peer not in inside:
                inside[peer] = sorted(
                    name
                    for address, name in held
                    if peer.prefix.covers(address) and not any(hole.covers(address) for hole in peer.except_)
                )
            if names := inside[peer]:
                side = "from" if rule.direction is Direction.INGRESS else "to"
                message = f"{peer.prefix} holds the address of {_some(names)}, whom a CIDR never selects"
                yield Suspicion("covers-pods", rule.origin, message, f"name them with {side}Endpoints")


def _naming(engine: Engine) -> Iterator[Suspicion]:
    """Rules by DNS name that select nobody, for one reason or another."""
    for origin, message in leading_inside(engine):
        yield Suspicion("inside", origin, message, "write toEndpoints for endpoints, toEntities for the node")
    for origin, message in unheard(engine):
        yield Suspicion("unheard", origin, message, "add a rule to port 53 with rules: {dns: [...]}")


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
