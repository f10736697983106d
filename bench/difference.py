"""How fast is it known what a change of policies would change, for everybody and every port?

60 000 identities of five labels are known, a thousand of them endpoints of this node, and 3000 policies
are in force, each about one application; one in ten lets in a third of everybody. *All change*: every
policy names another port. *One changes*: one does. Measured is the whole answer, the engine's rehearsal
included; the engine is left as it was. The baseline asks the same engine about one port of every pair of
an endpoint and an identity, for one of the endpoints, and is scaled up: it would find changes at that port.
"""

from __future__ import annotations

import time
from ipaddress import IPv4Address

from bench.engine import labels
from bench.figure import Figure, Goal, compare
from kinety.agent.garbage import Garbage
from kinety.explain.difference import difference
from kinety.model.address import Prefix, pack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.identity import Identity
from kinety.model.label import ANY_SOURCE
from kinety.model.rule import Action, Direction, Origin, Policy, PolicyKey, PortRange, Rule
from kinety.model.selector import LabelSelector, Operator, Requirement
from kinety.plan.change import Capacity
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, PeerUpserted, PolicyUpserted

IDENTITIES, ENDPOINTS, POLICIES, QUICK_DIVISOR = 60_000, 1000, 3000, 50
ROUNDS, QUICK_ROUNDS = 5, 2
WIDE = 10  # of so many policies, one is about a third of everybody
ASKED = 1  # endpoints that the baseline asks about
TCP = 6


def run(quick: bool = False) -> list[Figure]:
    """Milliseconds for the difference that all policies make, and that one makes."""
    divisor = QUICK_DIVISOR if quick else 1
    identities, endpoints, policies = (each // divisor for each in (IDENTITIES, ENDPOINTS, POLICIES))
    engine = Engine(Capacity(endpoints=endpoints, rule_sets=1 << 16, ipcache_hosts=1 << 17))
    facts: list[EndpointUpserted | PeerUpserted] = [
        EndpointUpserted(endpoint(number)) for number in range(endpoints)
    ]
    facts += [
        PeerUpserted(Prefix(address(number), 128), labels(number)) for number in range(endpoints, identities)
    ]
    engine.change([*facts, *(PolicyUpserted(policy(number, 80)) for number in range(policies))])
    garbage = Garbage()
    garbage.set_aside()
    everything, one, theirs = [], [], []
    for number in range(QUICK_ROUNDS if quick else ROUNDS):
        everything.append(took(engine, [policy(each, 8080) for each in range(policies)]))
        one.append(took(engine, [policy(number, 8080)]))
        theirs.append(asking(engine) * endpoints / ASKED)
    sizes = f"{identities} identities, {policies} policies"
    return [
        compare(
            f"difference, {sizes}: all change",
            "ms",
            everything,
            "one port of each pair",
            theirs,
            Goal("value", "<=", 2000.0),
        ),
        compare(
            f"difference, {sizes}: one changes",
            "ms",
            one,
            "one port of each pair",
            theirs,
            Goal("value", "<=", 100.0),
        ),
    ]


def took(engine: Engine, changed: list[Policy]) -> float:
    """Milliseconds to say what these policies would change."""
    started = time.perf_counter()
    found = difference(engine, map(PolicyUpserted, changed))
    seconds = time.perf_counter() - started
    ports = {each.traffic for each in found.changes}
    if len(ports) != 2:
        raise RuntimeError(f"ports 80 and 8080 should change, not {ports}")
    return seconds * 1e3


def asking(engine: Engine) -> float:
    """Milliseconds to ask about one port of some endpoints and everybody."""
    started = time.perf_counter()
    for subject in range(ASKED):
        for identity in engine.identities:
            engine.verdict(EndpointId(subject + 1), Direction.INGRESS, Identity(identity), TCP, 80)
    return (time.perf_counter() - started) * 1e3


def address(number: int) -> bytes:
    return pack_address(IPv4Address("10.0.0.0") + 1 + number)


def endpoint(number: int) -> Endpoint:
    return Endpoint(EndpointId(number + 1), "home", f"pod-{number}", labels(number), address(number), None)


def policy(number: int, port: int) -> Policy:
    """An application may be reached by the next one at one port, and now and then by all in front."""
    key = PolicyKey("CiliumNetworkPolicy", "home", f"policy-{number}")
    subject = LabelSelector((Requirement(ANY_SOURCE, "app", Operator.IN, (f"app-{number}",)),))
    peers = [LabelSelector((Requirement(ANY_SOURCE, "app", Operator.IN, (f"app-{number + 1}",)),))]
    if number % WIDE == 0:
        tier = Requirement(ANY_SOURCE, "tier", Operator.IN, ("front",))
        version = Requirement(ANY_SOURCE, "version", Operator.NOT_IN, (f"v{number % 4}",))
        peers.append(LabelSelector((tier, version)))
    rule = Rule(
        subject,
        Direction.INGRESS,
        Action.ALLOW,
        tuple(peers),
        (PortRange(TCP, port, port),),
        True,
        Origin(key, "policy.yaml", number + 1, "spec.ingress[0]"),
    )
    return Policy(key, (rule,))
