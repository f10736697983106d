"""The second judge: a scenario answered from the plan, without a kernel."""

from collections.abc import Iterator

from kinety.model.address import Prefix, pack_address
from kinety.model.endpoint import EndpointId
from kinety.model.identity import Identity, ReservedIdentity
from kinety.model.rule import DEFAULT_RULE, Direction
from kinety.model.verdict import VerdictKind
from kinety.plan.engine import Engine
from kinety.plan.fact import (
    CidrGroupUpserted,
    EndpointUpserted,
    Fact,
    HostAddressesChanged,
    NamesLearnt,
    NodeLabelsChanged,
    PolicyUpserted,
    ServiceUpserted,
)
from kinety.plan.roster import HOST
from kinety.testing.outcome import ALLOW, DENY, REDIRECT, UNJUDGED, Answer, Result, Side
from kinety.testing.scenario import (
    HOST_ADDRESSES,
    PROTOCOLS,
    End,
    Host,
    Probe,
    Scenario,
    ScenarioEndpoint,
    addresses_of,
)

_WORDS = {VerdictKind.ALLOW: ALLOW, VerdictKind.DENY: DENY, VerdictKind.REDIRECT: REDIRECT}


def plan(scenario: Scenario) -> Engine:
    """The engine after everything a scenario says became so."""
    facts: list[Fact] = [
        HostAddressesChanged(frozenset(map(pack_address, HOST_ADDRESSES.values()))),
        NodeLabelsChanged(scenario.node),
        *(
            NamesLearnt(Prefix(pack_address(address), 128), names)
            for address, names in scenario.names.items()
        ),
        *(EndpointUpserted(each.endpoint) for each in scenario.endpoints),
        *map(CidrGroupUpserted, scenario.objects.cidr_groups),
        *map(ServiceUpserted, scenario.objects.services),
        *map(PolicyUpserted, scenario.policies),
    ]
    engine = Engine()
    engine.change(facts)
    return engine


def run(scenario: Scenario) -> Iterator[Result]:
    """Every probe's result, in order."""
    engine = plan(scenario)
    for probe in scenario.probes:
        yield Result(scenario, probe, tuple(answer(engine, probe, family) for family in probe.families))


def answer(engine: Engine, probe: Probe, family: int) -> Answer:
    """What both ends' policies say to a probe in one family.

    What goes to a proxy at either end is not allowed as such: its content decides.
    """
    egress = _side(engine, probe, family, Direction.EGRESS)
    ingress = _side(engine, probe, family, Direction.INGRESS)
    sides = {egress.verdict, ingress.verdict}
    outcome = next((word for word in (DENY, REDIRECT) if word in sides), ALLOW)
    return Answer(family, outcome, egress, ingress)


def identity_of(engine: Engine, end: End, family: int) -> Identity:
    """Who an end is to the other one."""
    if isinstance(end, Host):
        return Identity(ReservedIdentity.HOST)
    return engine.identity_of_address(pack_address(addresses_of(end)[family]))


def _side(engine: Engine, probe: Probe, family: int, direction: Direction) -> Side:
    ends = (probe.source, probe.destination)
    own, peer = ends if direction is Direction.EGRESS else reversed(ends)
    if isinstance(own, ScenarioEndpoint):
        subject: EndpointId | ReservedIdentity = own.endpoint.id
    elif isinstance(own, Host) and engine.subjects[HOST].policies:
        subject = ReservedIdentity.HOST
    else:
        return UNJUDGED
    remote = identity_of(engine, peer, family)
    verdict = engine.verdict(subject, direction, remote, PROTOCOLS[probe.protocol], probe.port)
    rule = engine.rules.get(verdict.rule) if verdict.rule != DEFAULT_RULE else None
    return Side(_WORDS[verdict.kind], None if rule is None else rule.origin)
