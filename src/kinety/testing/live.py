"""The third judge for people: a scenario on a throw-away node, with real packets.

A probe is allowed when its token came back. It is denied when nothing came back in time and no
server saw the token. The node's own events then say which side let it pass or refused it, and by which
rule. What the kernel never came to judge (the receiver, when the sender was refused) or tell (the sender,
when the receiver refused: only whole flows are announced) is taken from the plan.
"""

import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from kinety.api.client import Client
from kinety.api.errors import AgentUnreachable
from kinety.api.naming import NameAnswer
from kinety.api.types import Document, EndpointRequest, Event
from kinety.kernel.namespace import Namespace
from kinety.model.address import IPAddress
from kinety.model.rule import Origin, PolicyKey
from kinety.testing import offline
from kinety.testing.content import Content, DnsQuestion
from kinety.testing.content_server import ContentServers, Zone
from kinety.testing.echo import EchoServers
from kinety.testing.exchange import exchange
from kinety.testing.lab import Lab, lab
from kinety.testing.outcome import ALLOW, DENY, REDIRECT, Answer, Result, Side
from kinety.testing.scenario import (
    WORLD_ADDRESSES,
    End,
    Host,
    Outside,
    Probe,
    Scenario,
    ScenarioEndpoint,
    addresses_of,
)
from kinety.testing.wait import wait_until

_EVENT_SECONDS = 2.0
#: For how long names are what a scenario says: longer than any scenario runs.
_NAME_SECONDS = 86400
_AT_ONCE = 8
_REFUSED_BY_POLICY = "policy-denied"
_UNSENDABLE = frozenset({"SCTP"})
#: Home, address, protocol and port of a server.
_Place = tuple[int, IPAddress, str, int]


@dataclass(slots=True)
class EventLog:
    """What the agent has told since the log was opened."""

    events: list[Event] = field(default_factory=list)

    def follow(self, client: Client) -> threading.Thread:
        """Collect events until the agent goes; returns once it has subscribed."""
        stream = client.events()
        thread = threading.Thread(target=self._collect, args=(stream,), name="events", daemon=True)
        thread.start()
        return thread

    def _collect(self, stream: Iterator[Event]) -> None:
        try:
            self.events.extend(stream)
        except AgentUnreachable:
            return

    def of(self, source: IPAddress, port: int, destination: IPAddress) -> list[Event]:
        """Events about packets with this source and destination."""
        wanted = (str(source), port, str(destination))
        return [
            event
            for event in list(self.events)
            if event.source is not None
            and event.destination is not None
            and (event.source.address, event.source.port, event.destination.address) == wanted
        ]


def run(scenario: Scenario) -> Iterator[Result]:
    """Every probe's result, in order, after a node was built for the scenario."""
    with lab() as built:
        built.start_agent(*(f"--node-label={each.key}={each.value}" for each in sorted(scenario.node)))
        yield from probe_all(built, scenario, deploy(built, scenario))


def deploy(built: Lab, scenario: Scenario) -> dict[str, Namespace]:
    """Attach a scenario's endpoints and apply its policies; returns their namespaces by name."""
    namespaces: dict[str, Namespace] = {}
    with built.client() as client:
        for each in scenario.endpoints:
            namespace = built.namespace(f"e{each.endpoint.id}")
            namespaces[str(each)] = namespace
            client.attach(
                EndpointRequest(
                    name=each.endpoint.name,
                    namespace=each.endpoint.namespace,
                    netns=namespace.name,
                    labels=tuple(map(str, each.own_labels)),
                    namespace_labels=dict(each.namespace_labels),
                    addresses=tuple(map(str, each.addresses.values())),
                    port_names=tuple(sorted(map(str, each.endpoint.listens))),
                )
            )
    enforce(built, scenario)
    with built.client() as client:
        for name, addresses in _addresses_by_name(scenario).items():
            client.learn_name(name, NameAnswer(addresses, _NAME_SECONDS))
    built.route_from_world(a for each in scenario.endpoints for a in each.addresses.values())
    return namespaces


def _addresses_by_name(scenario: Scenario) -> dict[str, tuple[str, ...]]:
    """What the scenario has DNS say: there is no name server on the node."""
    found: dict[str, tuple[str, ...]] = {}
    for address, names in scenario.names.items():
        for name in names:
            found[name] = (*found.get(name, ()), str(address))
    return found


def enforce(built: Lab, scenario: Scenario) -> None:
    """Apply a scenario's policies, over those of the same names."""
    if scenario.policy_documents:
        with built.client() as client:
            client.apply(Document(each.file, each.text) for each in scenario.policy_documents)


def probe_all(built: Lab, scenario: Scenario, namespaces: dict[str, Namespace]) -> Iterator[Result]:
    """Send every probe of a deployed scenario."""
    ends = [end for probe in scenario.probes for end in (probe.source, probe.destination)]
    known = set(WORLD_ADDRESSES.values())
    built.add_to_world(
        {a for end in ends if isinstance(end, Outside) for a in end.addresses.values()} - known
    )
    engine = offline.plan(scenario)
    log = EventLog()
    servers = _Servers(EchoServers(), ContentServers(_zone(scenario)))
    with built.client() as client, servers.echo, servers.content, _threads() as threads:
        _listen(built, scenario, namespaces, servers)
        log.follow(client)

        def ask(probe: Probe, family: int) -> Answer:
            planned = offline.answer(engine, probe, family)
            home = _home(built, namespaces, probe.source)
            return _ask(_Question(probe, family, planned, home), servers, log)

        pending = [
            (probe, [threads.submit(ask, probe, family) for family in probe.families])
            for probe in scenario.probes
        ]
        for probe, answers in pending:
            yield Result(scenario, probe, tuple(answer.result() for answer in answers))


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that drop what they have not begun when the block fails or is interrupted."""
    threads = ThreadPoolExecutor(_AT_ONCE)
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Servers:
    """Who answers probes: those without content, and those with."""

    echo: EchoServers
    content: ContentServers

    def saw(self, token: bytes) -> bool:
        return self.echo.saw(token) or self.content.saw(token)


@dataclass(frozen=True, slots=True)
class _Question:
    """A probe in one family, with the plan's answer, and the namespace that it is asked in."""

    probe: Probe
    family: int
    planned: Answer
    home: Namespace

    @property
    def source(self) -> IPAddress:
        """The address a packet comes from; the node's own where it is the node that asks."""
        return addresses_of(self.probe.source)[self.family]

    @property
    def destination(self) -> IPAddress:
        """The address a packet goes to."""
        return addresses_of(self.probe.destination)[self.family]


def _home(built: Lab, namespaces: dict[str, Namespace], end: End) -> Namespace:
    if isinstance(end, Host):
        return built.node
    return namespaces[str(end)] if isinstance(end, ScenarioEndpoint) else built.world


def _listen(built: Lab, scenario: Scenario, namespaces: dict[str, Namespace], servers: _Servers) -> None:
    """A server at everything a probe or an endpoint's `listens` names, of content where a probe has some."""
    wanted: set[_Place] = set()
    spoken: set[_Place] = set()
    homes: dict[int, Namespace] = {}

    def want(end: End, protocol: str, port: int, content: Content | None = None) -> None:
        home = _home(built, namespaces, end)
        homes[home.inode] = home
        places = {(home.inode, address, protocol, port) for address in addresses_of(end).values()}
        wanted.update(places)
        if content is not None:
            spoken.update(places)

    for endpoint in scenario.endpoints:
        for protocol, port in endpoint.listens:
            want(endpoint, protocol, port)
    for probe in scenario.probes:
        want(probe.destination, probe.protocol, probe.port, probe.content)
    for place in sorted(wanted, key=repr):
        inode, address, protocol, port = place
        if protocol in ("TCP", "UDP"):
            chosen = servers.content if place in spoken else servers.echo
            chosen.listen(homes[inode], address, protocol, port)


def _zone(scenario: Scenario) -> Zone | None:
    """What name servers of a scenario know; None where no probe asks any."""
    if not any(isinstance(probe.content, DnsQuestion) for probe in scenario.probes):
        return None
    from kinety.testing import names

    return names.Zone(scenario.names)


def _ask(question: _Question, servers: _Servers, log: EventLog) -> Answer:
    """Send one probe and find out what became of it."""
    probe, planned = question.probe, question.planned
    if probe.protocol in _UNSENDABLE:
        return replace(planned, remark=f"{probe.protocol} was not sent: judged by the plan alone")
    token = secrets.token_bytes(16)
    port, came_of_it = exchange(question.home, probe, question.source, question.destination, token)
    outcome = ALLOW if servers.saw(token) else came_of_it
    remark = "" if came_of_it == outcome else "it arrived, and the answer was lost"
    events, complete = _told(question, port, outcome, log)
    if not complete:
        missing = "no drop" if outcome == DENY else "no new flow"
        remark = remark or f"{missing} was reported: the sides are the plan's"
    if planned.outcome == REDIRECT and any(event.verdict == REDIRECT for event in events):
        outcome, remark = REDIRECT, remark or planned.remark
    return _settled(question, outcome, events, remark)


def _told(question: _Question, port: int, outcome: str, log: EventLog) -> tuple[list[Event], bool]:
    """What the node told of a probe, and whether that is all it tells of such an outcome."""
    planned = question.planned
    sides = {"egress": planned.egress, "ingress": planned.ingress}
    judges = {direction for direction, side in sides.items() if side.judged}
    if isinstance(question.probe.source, Host) and len(judges) > 1:
        judges.remove("ingress")  # the node is asked first, and then it is no new flow to the endpoint

    def complete() -> bool:
        events = log.of(question.source, port, question.destination)
        dropped = any(event.kind == "drop" for event in events)
        if outcome == DENY and (dropped or planned.outcome != REDIRECT):
            return dropped
        return judges <= {event.direction for event in events if event.kind == "new-flow"}

    try:
        wait_until(complete, _EVENT_SECONDS)
    except TimeoutError:
        return log.of(question.source, port, question.destination), False
    return log.of(question.source, port, question.destination), True


def _settled(question: _Question, outcome: str, events: list[Event], remark: str) -> Answer:
    """The outcome with each side as the kernel told it, where it did."""
    sides: dict[str, Side] = {"egress": question.planned.egress, "ingress": question.planned.ingress}
    for event in events:
        if event.direction not in sides or not sides[event.direction].judged:
            continue
        if event.kind == "drop":
            by_policy = event.reason == _REFUSED_BY_POLICY
            reason = "" if by_policy else event.sentence or event.reason or ""
            sides[event.direction] = Side(DENY, _origin(event), reason)
        elif event.kind == "new-flow":
            verdict = REDIRECT if event.verdict == REDIRECT else ALLOW
            sides[event.direction] = Side(verdict, _origin(event))
    return Answer(question.family, outcome, sides["egress"], sides["ingress"], remark)


def _origin(event: Event) -> Origin | None:
    rule: Any = event.rule
    if rule is None or not rule.id or rule.policy is None:
        return None
    kind, _, rest = rule.policy.partition("/")
    namespace, _, name = rest.rpartition("/")
    return Origin(PolicyKey(kind, namespace, name), rule.file or "", rule.line or 0, rule.path or "")
