"""The second judge: a scenario answered from the plan, without a kernel."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kinety.explain.content import Fate, Request, fate_of
from kinety.model.address import Prefix, pack_address
from kinety.model.endpoint import EndpointId
from kinety.model.identity import Identity, ReservedIdentity
from kinety.model.layer7 import Layer7, NamePattern
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
from kinety.testing.content import Content, DnsQuestion, HttpRequest
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

_ENDS = (Direction.EGRESS, Direction.INGRESS)
_KINDS = {"http": "HTTP requests", "dns": "DNS questions", "server_names": "TLS server names"}
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
    egress, ingress = (_judged(engine, probe, family, direction) for direction in _ENDS)
    outcomes = [egress.outcome, ingress.outcome]
    refusals = [] if probe.content is None else [probe.content.REFUSAL]
    outcome = next((word for word in (DENY, *refusals, REDIRECT) if word in outcomes), ALLOW)
    remarks = [each.remark for each in (egress, ingress) if each.remark] if outcome == REDIRECT else []
    return Answer(family, outcome, egress.side, ingress.side, "; ".join(dict.fromkeys(remarks)))


def identity_of(engine: Engine, end: End, family: int) -> Identity:
    """Who an end is to the other one."""
    if isinstance(end, Host):
        return Identity(ReservedIdentity.HOST)
    return engine.identity_of_address(pack_address(addresses_of(end)[family]))


@dataclass(frozen=True, slots=True)
class _Judged:
    """What one end says, and what comes of a probe's content there."""

    side: Side
    outcome: str
    remark: str = ""


def _judged(engine: Engine, probe: Probe, family: int, direction: Direction) -> _Judged:
    ends = (probe.source, probe.destination)
    own, peer = ends if direction is Direction.EGRESS else reversed(ends)
    if isinstance(own, ScenarioEndpoint):
        subject: EndpointId | ReservedIdentity = own.endpoint.id
    elif isinstance(own, Host) and engine.subjects[HOST].policies:
        subject = ReservedIdentity.HOST
    else:
        return _Judged(UNJUDGED, ALLOW)
    remote = identity_of(engine, peer, family)
    verdict = engine.verdict(subject, direction, remote, PROTOCOLS[probe.protocol], probe.port)
    rule = engine.rules.get(verdict.rule) if verdict.rule != DEFAULT_RULE else None
    side = Side(_WORDS[verdict.kind], None if rule is None else rule.origin)
    if verdict.kind is not VerdictKind.REDIRECT or probe.content is None:
        return _Judged(side, side.verdict)
    return _Judged(side, *_passed(engine.layer7_sets[verdict.layer7], probe.content))


def _passed(layer7: Layer7, content: Content) -> tuple[str, str]:
    """What a proxy with these rules makes of some content, and a remark where that is not settled."""
    kinds = [each for each in _KINDS if getattr(layer7, each)]
    if isinstance(content, HttpRequest):
        fate, kind = fate_of(layer7, _request(content)), "http"
    elif isinstance(content, DnsQuestion):
        fate, kind = _fate(layer7.dns, content.name), "dns"
    else:
        fate, kind = _fate(layer7.server_names, content.server_name), "server_names"
    if kinds and kind not in kinds:
        return REDIRECT, f"the rules are about {', '.join(_KINDS[each] for each in kinds)}"
    if fate is Fate.DEPENDS:
        return REDIRECT, "the rules ask for more than is known here"
    return (ALLOW if fate is Fate.PASSES else content.REFUSAL), ""


def _request(content: HttpRequest) -> Request:
    headers = {name.lower(): value for name, value in content.headers}
    return Request(content.method, content.path, content.host, headers)


def _fate(patterns: Iterable[NamePattern], name: str) -> Fate:
    return Fate.PASSES if any(each.matches(name) for each in patterns) else Fate.REFUSED
