"""What do the reference engine's own workloads cost here?

Its developers measure their policy engine with these (Cilium 1.17, the benchmarks of ``pkg/policy``);
subjects, peers, ports and prefixes are theirs, so that what they publish can stand beside ours. Everything
is about one endpoint; facts are parsed values, and no kernel is involved.

*Labels*: 1000 rules of 1000 policies let in the same peers, whom none of 3000 identities is among. Measured
is all of it from scratch, identities included, and one more identity that the rules do name. The baseline
asks every rule about every identity, for some of the rules, and is scaled up.

*CIDRs*: 1000 policies, each with a rule that allows one prefix one port, and then with another that denies
a prefix a port; prefixes lie in each other. Measured is the change that puts them in force, each time with
other ports, and what the kernel's policy maps then hold: rows of the one rule set and classes of identities.
The reference engine's entries are those of one endpoint; here endpoints with the same rules share theirs.
Either way a wide prefix's ports are repeated for every narrower one. The engine is given more room than an
agent has by default, 65 536 rows a rule set, where the second of the two would be refused. The baseline of
the time asks every rule about every prefix, once, and makes no rows.

*Everybody but*: of 10 000 identities, a rule lets in those without a label, which is all of them; one comes,
and goes. The baseline asks the selector about everybody again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from ipaddress import IPv4Address

from bench.figure import Figure, compare, median
from kinety.model.address import Prefix, pack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.identity import Identity
from kinety.model.label import ANY_SOURCE, K8S, NAMESPACE_KEY, Label, Labels
from kinety.model.rule import Action, Direction, Origin, Policy, PolicyKey, PortRange, Rule
from kinety.model.selector import CidrSelector, LabelSelector, Operator, PeerSelector, Requirement
from kinety.model.verdict import VerdictKind
from kinety.plan.change import Capacity
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, Fact, PeerRemoved, PeerUpserted, PolicyUpserted

RULES, IDENTITIES, EVERYBODY, QUICK_DIVISOR = 1000, 3000, 10_000, 50
ROUNDS, QUICK_ROUNDS, CHANGES = 5, 2, 20
ASKED = 20  # of so many rules, the baseline asks one
#: Entries of the reference engine's policy map, for 1000 rules.
ENTRIES = {"allow": 44_596, "allow and deny": 117_515}
TCP = 6


def has(key: str, operator: Operator = Operator.EXISTS) -> LabelSelector:
    return LabelSelector((Requirement(ANY_SOURCE, key, operator),))


SUBJECT, NAMED, UNMARKED = has("foo"), has("bar"), has("quarantine", Operator.DOES_NOT_EXIST)


def run(quick: bool = False) -> list[Figure]:
    """Milliseconds, and entries."""
    divisor = QUICK_DIVISOR if quick else 1
    rounds = QUICK_ROUNDS if quick else ROUNDS
    return [
        *by_label(RULES // divisor, IDENTITIES // divisor, rounds),
        *by_cidr(RULES // divisor, rounds, "allow"),
        *by_cidr(RULES // divisor, rounds, "allow and deny"),
        *everybody_but(EVERYBODY // divisor, rounds),
    ]


# Labels


def by_label(rules: int, identities: int, rounds: int) -> list[Figure]:
    """From scratch, and one identity more."""
    policies = [
        _policy(f"l3-{number}", _rule(f"l3-{number}", Direction.INGRESS, Action.ALLOW, NAMED))
        for number in range(rules)
    ]
    crowd = [labels(f"foo{number}") for number in range(identities)]
    facts: list[Fact] = [EndpointUpserted(subject()), *map(PolicyUpserted, policies)]
    facts += [PeerUpserted(where(number), each) for number, each in enumerate(crowd)]
    whole, one, naive = [], [], []
    for _ in range(rounds):
        engine = Engine()
        whole.append(_milliseconds(engine, facts))
        one.append(_appear(engine, where(identities), labels("bar")))
        started = time.perf_counter()
        asked = policies[::ASKED]
        found = [each for policy in asked for each in crowd if policy.rules[0].peers[0].matches(each)]  # type: ignore
        naive.append((time.perf_counter() - started) * 1e3 * rules / len(asked))
        if found:
            raise RuntimeError("these rules are about nobody")
    sizes = f"{rules} rules × {identities} identities"
    asking = "every rule asked about everybody"
    return [
        compare(f"{sizes}, from scratch", "ms", whole, asking, naive),
        compare(f"{sizes}, one more that they name", "ms", one, "from scratch", whole),
    ]


def _appear(engine: Engine, prefix: Prefix, own: Labels) -> float:
    """Milliseconds to take in somebody whom the rules let in, the median of some times."""
    taken = []
    for _ in range(CHANGES):
        taken.append(_milliseconds(engine, [PeerUpserted(prefix, own)]))
        _require(engine, Direction.INGRESS, engine.identity_of_address(prefix.packed), 80, VerdictKind.ALLOW)
        engine.change([PeerRemoved(prefix)])
    return median(taken)


# CIDRs


def by_cidr(rules: int, rounds: int, kind: str) -> list[Figure]:
    """Entries, and milliseconds until they are in force."""
    ours, naive, entries = [], [], 0
    for turn in range(rounds):
        first = 80 + 1000 * turn  # what is resolved once is remembered
        policies = [cidr_policy(number, first, denies=kind != "allow") for number in range(1, rules + 1)]
        engine = Engine(Capacity(rows=1 << 20))
        engine.change([EndpointUpserted(subject())])
        started = time.perf_counter()
        change = engine.change(map(PolicyUpserted, policies))
        ours.append((time.perf_counter() - started) * 1e3)
        started = time.perf_counter()
        expected = asked(policies)
        naive.append((time.perf_counter() - started) * 1e3)
        for (prefix, port), verdict in list(expected.items())[::97]:
            _require(engine, Direction.EGRESS, change.ipcache[prefix], port, verdict)
        statistics = engine.statistics()
        entries = statistics.rows + len(engine.identity_classes)
    title = f"{rules} egress CIDR rules, {kind}"
    published = ENTRIES[kind] if rules == RULES else None
    named = None if published is None else "the reference engine's policy map"
    return [
        Figure(f"{title}: policy map entries", entries, "entries", named, published),
        compare(f"{title}: in force", "ms", ours, "every rule asked about every prefix", naive),
    ]


def asked(policies: Iterable[Policy]) -> dict[tuple[Prefix, int], VerdictKind]:
    """What is said of every prefix that is named, at every port that a rule about it names."""
    rules = [each for policy in policies for each in policy.rules]
    named = {each.prefix for rule in rules for each in rule.peers or () if isinstance(each, CidrSelector)}
    found: dict[tuple[Prefix, int], VerdictKind] = {}
    for prefix in named:
        for rule in rules:
            (peer,), (ports,) = rule.peers or (), rule.ports or ()
            if isinstance(peer, CidrSelector) and peer.prefix.covers(prefix):
                verdict = VerdictKind.DENY if rule.action is Action.DENY else VerdictKind.ALLOW
                if found.get((prefix, ports.first)) is not VerdictKind.DENY:
                    found[prefix, ports.first] = verdict
    return found


def cidr_policy(number: int, first: int, *, denies: bool) -> Policy:
    """One of the reference engine's policies about prefixes; ``first`` is the lowest port."""
    name = f"cidr-{number}"
    allowed = CidrSelector(prefix_of(number, 0, (17, 121, 16, 255)))
    rules = [_rule(name, Direction.EGRESS, Action.ALLOW, allowed, first + number % 97)]
    if denies:
        other = number + 773
        denied = CidrSelector(prefix_of(other, 21, (23, 119, 15, 253)))
        rules.append(_rule(name, Direction.EGRESS, Action.DENY, denied, first + other % 131))
    return _policy(name, *rules)


def prefix_of(number: int, turn: int, cycles: tuple[int, int, int, int]) -> Prefix:
    """A prefix of one of five lengths in one of three networks; its bytes go round in cycles."""
    length = (8, 16, 24, 28, 32)[(number + turn) % 5]
    second, third, sixteenth, last = (number % each for each in cycles)
    fourth = {28: sixteenth << 4, 32: last}.get(length, 0)
    own = ((10, 192, 244)[number % 3], second, third, fourth)
    packed = IPv4Address(bytes(own))
    whole = int(packed) >> (32 - length) << (32 - length)
    return Prefix.parse(f"{IPv4Address(whole)}/{length}")


# Everybody but


def everybody_but(identities: int, rounds: int) -> list[Figure]:
    """Milliseconds to take in one more of those who lack a label, and to let one go."""
    crowd = [labels(f"foo{number}") for number in range(identities)]
    engine = Engine()
    rule = _rule("unmarked", Direction.INGRESS, Action.ALLOW, UNMARKED)
    facts: list[Fact] = [EndpointUpserted(subject()), PolicyUpserted(_policy("unmarked", rule))]
    engine.change([*facts, *(PeerUpserted(where(number), each) for number, each in enumerate(crowd))])
    comes, goes, naive = [], [], []
    for number in range(rounds * CHANGES):
        prefix, own = where(identities + number), labels(f"late{number}")
        comes.append(_milliseconds(engine, [PeerUpserted(prefix, own)]))
        _require(engine, Direction.INGRESS, engine.identity_of_address(prefix.packed), 80, VerdictKind.ALLOW)
        goes.append(_milliseconds(engine, [PeerRemoved(prefix)]))
        started = time.perf_counter()
        if not all(map(UNMARKED.matches, crowd)):
            raise RuntimeError("nobody has that label")
        naive.append((time.perf_counter() - started) * 1e3)
    sizes = f"{identities} identities lack a label"
    asking = "the selector asked about everybody"
    return [
        compare(f"{sizes}, one more comes", "ms", comes, asking, naive),
        compare(f"{sizes}, one goes", "ms", goes, asking, naive),
    ]


# What all of them are made of


def subject() -> Endpoint:
    """The endpoint that all rules are about."""
    return Endpoint(EndpointId(1), "monitoring", "foo", labels("foo"), where(-1).packed, None)


def labels(own: str) -> Labels:
    """One label of its own beside four that all have."""
    return frozenset(
        (
            Label(K8S, own),
            Label(K8S, "io.cilium.k8s.policy.cluster", "default"),
            Label(K8S, "io.cilium.k8s.policy.serviceaccount", "default"),
            Label(K8S, NAMESPACE_KEY, "monitoring"),
            Label(K8S, "app", "analytics-erneh"),
        )
    )


def where(number: int) -> Prefix:
    """The address of an identity; none of the prefixes in rules has it."""
    return Prefix(pack_address(IPv4Address("172.16.0.1") + 1 + number), 128)


def _policy(name: str, *rules: Rule) -> Policy:
    return Policy(_key(name), rules)


def _key(name: str) -> PolicyKey:
    return PolicyKey("CiliumNetworkPolicy", "monitoring", name)


def _rule(
    name: str, direction: Direction, action: Action, peer: PeerSelector, port: int | None = None
) -> Rule:
    word = direction.name.lower() + ("Deny" if action is Action.DENY else "")
    ports = None if port is None else (PortRange(TCP, port, port),)
    origin = Origin(_key(name), f"{name}.yaml", 7, f"spec.{word}[0]")
    return Rule(SUBJECT, direction, action, (peer,), ports, True, origin)


def _milliseconds(engine: Engine, facts: Iterable[Fact]) -> float:
    started = time.perf_counter()
    engine.change(facts)
    return (time.perf_counter() - started) * 1e3


def _require(engine: Engine, direction: Direction, peer: Identity, port: int, wanted: VerdictKind) -> None:
    """A figure for a plan that says something else is worth nothing."""
    kind = engine.verdict(EndpointId(1), direction, peer, TCP, port).kind
    if kind is not wanted:
        raise RuntimeError(f"{direction.name.lower()} of {peer}, port {port}: {kind.name}, not {wanted.name}")
