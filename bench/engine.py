"""How fast does the pure middle answer: who is selected, who is alike, which rules are an endpoint's?

*From scratch*: 60 000 identities of five labels are known, and 10 000 selectors become live at once, as
when an agent has read its store. Measured is the time until every selector has its bitmap and every
identity its class. Selectors are what policies have: seven of ten an application in a namespace, the
others a tier in a namespace less one version, a namespace less one application, two applications. The
baseline asks every selector about every identity, for a few of the selectors, and is scaled up; it makes
no classes. Indexing the identities' labels comes before, is paid an identity at a time as they appear,
and has a figure of its own.

*One subject*: an endpoint with labels nobody had before appears among 20 000 rules that do not select it
and one that does. Measured is the engine's whole change, which finds that rule, makes its verdict table
and places the identity in its class, twenty times a round; the baseline only looks for the rules, by
asking each, once a round.

Facts are parsed values here, not text, and no kernel is involved.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from ipaddress import IPv4Address

from pyroaring import BitMap

from bench.figure import Figure, Goal, compare, median, spread
from kinety.agent.garbage import Garbage
from kinety.identity.journal import Journal
from kinety.identity.members import expand
from kinety.identity.registry import IdentityHints, Registry
from kinety.model.address import pack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.label import ANY_SOURCE, K8S, NAMESPACE_KEY, Label, Labels
from kinety.model.rule import Action, Direction, Origin, Policy, PolicyKey, PortRange, Rule
from kinety.model.selector import LabelSelector, Operator, Requirement
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointRemoved, EndpointUpserted, PolicyUpserted

IDENTITIES, SELECTORS, QUICK_DIVISOR = 60_000, 10_000, 50
APPLICATIONS, NAMESPACES, VERSIONS = 6000, 200, 4
TIERS = ("back", "database", "front")
ROUNDS, QUICK_ROUNDS = 9, 2
ASKED = 7  # selectors the baseline asks a round

RULES, RULES_PER_POLICY = 20_000, 10
SUBJECT_ROUNDS, QUICK_SUBJECT_ROUNDS = 25, 2
SUBJECTS = 20  # that appear in each round
TCP = 6


def run(quick: bool = False) -> list[Figure]:
    """Milliseconds: to index, to select and classify from scratch, and for one subject."""
    return [*from_scratch(quick), one_subject(quick)]


def from_scratch(quick: bool) -> list[Figure]:
    """Milliseconds for all identities, and for all selectors over them."""
    divisor = QUICK_DIVISOR if quick else 1
    known = [labels(number) for number in range(IDENTITIES // divisor)]
    selectors = [selector(number) for number in range(SELECTORS // divisor)]
    garbage = Garbage()
    indexed, selected, ours, theirs = [], [], [], []
    for number in range(QUICK_ROUNDS if quick else ROUNDS):
        journal = Journal()
        registry = Registry(journal, IdentityHints())
        registry.begin()
        started = time.perf_counter()
        for each in known:
            registry.hold(each)
        indexed.append((time.perf_counter() - started) * 1e3)
        garbage.set_aside()
        started = time.perf_counter()
        selections = [registry.select(each) for each in selectors]
        selected.append((time.perf_counter() - started) * 1e3)
        registry.settle()
        ours.append((time.perf_counter() - started) * 1e3)
        journal.commit()
        asked = range(number, len(selectors), -(-len(selectors) // ASKED))
        started = time.perf_counter()
        found = [scan(registry, known, selectors[each]) for each in asked]
        theirs.append((time.perf_counter() - started) * 1e3 * len(selectors) / len(asked))
        if found != [expand(selections[each].members) for each in asked]:
            raise RuntimeError("bitmaps differ from what asking every identity says")
    sizes = f"{len(selectors)} selectors × {len(known)} identities"
    goal = Goal("value", "<=", 100.0)
    return [
        Figure(f"index {len(known)} identities by label", median(indexed), "ms", spread=spread(indexed)),
        Figure(f"{sizes}, whom each selects", median(selected), "ms", spread=spread(selected)),
        compare(f"{sizes}, from scratch", "ms", ours, "every one asked, no classes", theirs, goal),
    ]


def scan(registry: Registry, known: Sequence[Labels], wanted: LabelSelector) -> BitMap:
    """Identities that a selector matches, the reserved ones included, by asking about each."""
    found = [number for number, each in enumerate(known) if wanted.matches(each)]
    first = registry.find(known[0])
    assert first is not None
    reserved = [identity for identity in registry if identity < first and wanted.matches(registry[identity])]
    return BitMap([*reserved, *(first + number for number in found)])


def labels(number: int) -> Labels:
    """One of ten replicas of an application; ``pod-template-hash`` makes each an identity of its own."""
    application = number % APPLICATIONS
    return frozenset(
        (
            Label(K8S, "app", f"app-{application}"),
            Label(K8S, NAMESPACE_KEY, f"ns-{application % NAMESPACES}"),
            Label(K8S, "tier", TIERS[application % 3]),
            Label(K8S, "version", f"v{number // APPLICATIONS % VERSIONS}"),
            Label(K8S, "pod-template-hash", f"{number:08x}"),
        )
    )


def selector(number: int) -> LabelSelector:
    """No two are the same below 10 000."""
    kind, index = number % 10, number // 10
    application = (index * 7 + kind) % APPLICATIONS
    namespace = Requirement(K8S, NAMESPACE_KEY, Operator.IN, (f"ns-{index % NAMESPACES}",))
    match kind:
        case 7:
            tier = TIERS[index // NAMESPACES % 3]
            version = f"v{index // NAMESPACES // 3 % VERSIONS}"
            return LabelSelector((namespace, is_in("tier", tier), is_not("version", version)))
        case 8:
            return LabelSelector((namespace, is_not("app", f"app-{application}")))
        case 9:
            other = f"app-{(application + 1) % APPLICATIONS}"
            return LabelSelector((is_in("app", f"app-{application}", other),))
        case _:
            application = index * 7 + kind
            home = Requirement(K8S, NAMESPACE_KEY, Operator.IN, (f"ns-{application % NAMESPACES}",))
            version = f"v{application // APPLICATIONS}"
            narrow = (is_in("version", version),) if application >= APPLICATIONS else ()
            return LabelSelector((home, is_in("app", f"app-{application % APPLICATIONS}"), *narrow))


def is_in(key: str, *values: str) -> Requirement:
    return Requirement(ANY_SOURCE, key, Operator.IN, tuple(sorted(values)))


def is_not(key: str, value: str) -> Requirement:
    return Requirement(ANY_SOURCE, key, Operator.NOT_IN, (value,))


def one_subject(quick: bool) -> Figure:
    """Milliseconds from an endpoint that appears to its plan."""
    count = RULES // (QUICK_DIVISOR if quick else 1)
    policies = [policy(number) for number in range(count // RULES_PER_POLICY)]
    rules = [rule for each in policies for rule in each.rules]
    chosen = Policy(key("chosen"), (rule("chosen", 0, LabelSelector((HOME, is_in("app", "subject")))),))
    engine = Engine()
    engine.change(PolicyUpserted(each) for each in (*policies, chosen))
    ours, theirs = [], []
    for number in range(QUICK_SUBJECT_ROUNDS if quick else SUBJECT_ROUNDS):
        subjects = [endpoint(1 + number * SUBJECTS + each) for each in range(SUBJECTS)]
        ours.append(median([appear(engine, each) for each in subjects]))
        started = time.perf_counter()
        found = [each for each in rules if each.subject.matches(subjects[0].labels)]
        theirs.append((time.perf_counter() - started) * 1e3)
        if found:
            raise RuntimeError(f"these rules should not select the subject: {found}")
    title = f"resolve a subject, {len(rules)} rules do not select it"
    return compare(title, "ms", ours, "every rule asked", theirs, Goal("value", "<=", 0.5))


def appear(engine: Engine, subject: Endpoint) -> float:
    """Milliseconds to take in an endpoint whose ingress one rule is about. It goes again."""
    started = time.perf_counter()
    change = engine.change([EndpointUpserted(subject)])
    took = time.perf_counter() - started
    plan = change.endpoints[subject.id]
    if plan.ingress is None or plan.egress is not None:
        raise RuntimeError(f"the subject's rules are not what they should be: {plan}")
    engine.change([EndpointRemoved(subject.id)])
    return took * 1e3


HOME = Requirement(K8S, NAMESPACE_KEY, Operator.IN, ("home",))


def endpoint(number: int) -> Endpoint:
    found = frozenset(
        (
            Label(K8S, "app", "subject"),
            Label(K8S, NAMESPACE_KEY, "home"),
            Label(K8S, "tier", "front"),
            Label(K8S, "version", "v1"),
            Label(K8S, "pod-template-hash", f"{number:08x}"),
        )
    )
    address = pack_address(IPv4Address("10.240.0.0") + number)
    return Endpoint(EndpointId(number), "home", f"pod-{number}", found, address, None)


def policy(number: int) -> Policy:
    """Ten rules of one subject, which is one namespace's, and often the endpoint's own.

    Of twenty policies, one is about everything in the endpoint's namespace but its application, so that
    an index by label cannot rule it out; the others are about other applications.
    """
    if number % 20 == 0:
        subject = (HOME, is_not("app", "subject"), is_not("version", f"w{number % 1000}"))
    else:
        subject = (HOME, is_in("app", f"app-{number}"), is_in("tier", "front"))
    name = f"policy-{number}"
    return Policy(
        key(name), tuple(rule(name, each, LabelSelector(subject)) for each in range(RULES_PER_POLICY))
    )


def rule(name: str, index: int, subject: LabelSelector) -> Rule:
    peers = (LabelSelector((HOME, is_in("app", f"app-{index}"))),)
    ports = (PortRange(TCP, 8000 + index, 8000 + index),)
    origin = Origin(key(name), f"{name}.yaml", 10 + index, f"spec.ingress[{index}]")
    return Rule(subject, Direction.INGRESS, Action.ALLOW, peers, ports, True, origin)


def key(name: str) -> PolicyKey:
    return PolicyKey("CiliumNetworkPolicy", "home", name)
