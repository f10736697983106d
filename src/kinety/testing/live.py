"""The third judge for people: a scenario on a throw-away node, with real packets.

A probe is allowed when its token came back. It is denied when nothing came back in time and no
server saw the token. The node's own events then say which side let it pass or refused it, and by which
rule. What the kernel never came to judge (the receiver, when the sender was refused) or tell (the sender,
when the receiver refused: only whole flows are announced) is taken from the plan.
"""

import secrets
import socket
import struct
import threading
import time
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
from kinety.testing.echo import EchoServers
from kinety.testing.lab import Lab, lab
from kinety.testing.outcome import ALLOW, DENY, Answer, Result, Side
from kinety.testing.scenario import (
    ECHO_TYPES,
    HOST_ADDRESSES,
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

#: Longer than any answer takes on one machine, shorter than TCP's second try.
_ANSWER_SECONDS = 0.8
_EVENT_SECONDS = 2.0
#: For how long names are what a scenario says: longer than any scenario runs.
_NAME_SECONDS = 86400
_AT_ONCE = 8
_REFUSED_BY_POLICY = "policy-denied"
_UNSENDABLE = frozenset({"SCTP"})
_ICMP_ECHO = struct.Struct("!BBHHH")
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


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
        if scenario.policy_documents:
            client.apply(Document(each.file, each.text) for each in scenario.policy_documents)
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


def probe_all(built: Lab, scenario: Scenario, namespaces: dict[str, Namespace]) -> Iterator[Result]:
    """Send every probe of a deployed scenario."""
    ends = [end for probe in scenario.probes for end in (probe.source, probe.destination)]
    known = set(WORLD_ADDRESSES.values())
    built.add_to_world(
        {a for end in ends if isinstance(end, Outside) for a in end.addresses.values()} - known
    )
    engine = offline.plan(scenario)
    log = EventLog()
    with built.client() as client, EchoServers() as servers, _threads() as threads:
        _listen(built, scenario, namespaces, servers)
        log.follow(client)

        def ask(probe: Probe, family: int) -> Answer:
            planned = offline.answer(engine, probe, family)
            return _ask(_Question(probe, family, planned, built, namespaces), servers, log)

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
class _Question:
    """A probe in one family, on a lab."""

    probe: Probe
    family: int
    planned: Answer
    lab: Lab
    namespaces: dict[str, Namespace]

    @property
    def source(self) -> IPAddress:
        """The address a packet comes from; the node's own where it is the node that asks."""
        return addresses_of(self.probe.source)[self.family]

    @property
    def destination(self) -> IPAddress:
        """The address a packet goes to."""
        return addresses_of(self.probe.destination)[self.family]

    def socket(self, kind: int, protocol: int = 0) -> socket.socket:
        """A socket at the source, bound to its address."""
        made = _home(self.lab, self.namespaces, self.probe.source).socket(
            _FAMILIES[self.family], kind, protocol
        )
        made.settimeout(_ANSWER_SECONDS)
        made.bind((str(self.source), 0))
        return made


def _home(built: Lab, namespaces: dict[str, Namespace], end: End) -> Namespace:
    if isinstance(end, Host):
        return built.node
    return namespaces[str(end)] if isinstance(end, ScenarioEndpoint) else built.world


def _listen(built: Lab, scenario: Scenario, namespaces: dict[str, Namespace], servers: EchoServers) -> None:
    """A server at everything a probe or an endpoint's `listens` names."""
    wanted: set[tuple[int, IPAddress, str, int]] = set()
    homes: dict[int, Namespace] = {}

    def want(end: End, protocol: str, port: int) -> None:
        home = _home(built, namespaces, end)
        homes[home.inode] = home
        addresses = HOST_ADDRESSES if isinstance(end, Host) else end.addresses
        wanted.update((home.inode, address, protocol, port) for address in addresses.values())

    for endpoint in scenario.endpoints:
        for protocol, port in endpoint.listens:
            want(endpoint, protocol, port)
    for probe in scenario.probes:
        want(probe.destination, probe.protocol, probe.port)
    for inode, address, protocol, port in sorted(wanted, key=repr):
        if protocol in ("TCP", "UDP"):
            servers.listen(homes[inode], address, protocol, port)


def _ask(question: _Question, servers: EchoServers, log: EventLog) -> Answer:
    """Send one probe and find out what became of it."""
    probe = question.probe
    if probe.protocol in _UNSENDABLE:
        return replace(question.planned, remark=f"{probe.protocol} was not sent: judged by the plan alone")
    token = secrets.token_bytes(16)
    port, came_back = (_echo if probe.protocol in ECHO_TYPES else _exchange)(question, token)
    outcome = ALLOW if came_back or servers.saw(token) else DENY
    remark = "" if came_back or outcome == DENY else "it arrived, and the answer was lost"
    events, complete = _told(question, port, outcome, log)
    if not complete:
        missing = "no new flow" if outcome == ALLOW else "no drop"
        remark = remark or f"{missing} was reported: the sides are the plan's"
    return _settled(question, outcome, events, remark)


def _told(question: _Question, port: int, outcome: str, log: EventLog) -> tuple[list[Event], bool]:
    """What the node told of a probe, and whether that is all it tells of such an outcome."""
    sides = {"egress": question.planned.egress, "ingress": question.planned.ingress}
    judges = {direction for direction, side in sides.items() if side.judged}
    if isinstance(question.probe.source, Host) and len(judges) > 1:
        judges.remove("ingress")  # the node is asked first, and then it is no new flow to the endpoint

    def complete() -> bool:
        events = log.of(question.source, port, question.destination)
        if outcome == DENY:
            return any(event.kind == "drop" for event in events)
        return judges <= {event.direction for event in events if event.kind == "new-flow"}

    try:
        wait_until(complete, _EVENT_SECONDS)
    except TimeoutError:
        return log.of(question.source, port, question.destination), False
    return log.of(question.source, port, question.destination), True


def _exchange(question: _Question, token: bytes) -> tuple[int, bool]:
    """Send a token over TCP or UDP; the source port, and whether it came back."""
    kind = socket.SOCK_STREAM if question.probe.protocol == "TCP" else socket.SOCK_DGRAM
    with question.socket(kind) as client:
        port: int = client.getsockname()[1]
        try:
            client.connect((str(question.destination), question.probe.port))
            client.send(token)
            return port, client.recv(len(token)) == token
        except OSError:
            return port, False


def _echo(question: _Question, token: bytes) -> tuple[int, bool]:
    """Send an echo request with a token; the identifier, and whether the token came back."""
    version4 = question.family == 4
    protocol = socket.IPPROTO_ICMP if version4 else socket.IPPROTO_ICMPV6
    identifier = 1 + secrets.randbelow(65535)
    request = _ICMP_ECHO.pack(question.probe.port, 0, 0, identifier, 1) + token
    if version4:
        request = request[:2] + _checksum(request) + request[4:]
    deadline = time.monotonic() + _ANSWER_SECONDS
    with question.socket(socket.SOCK_RAW, protocol) as client:
        try:
            client.sendto(request, (str(question.destination), 0))
            while time.monotonic() < deadline:
                data, _ = client.recvfrom(2048)
                answer = data[(data[0] & 15) * 4 :] if version4 else data
                if answer[0] != question.probe.port and answer[_ICMP_ECHO.size :] == token:
                    return identifier, True
        except OSError:
            pass
        return identifier, False


def _checksum(data: bytes) -> bytes:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)


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
            sides[event.direction] = Side(ALLOW, _origin(event))
    return Answer(question.family, outcome, sides["egress"], sides["ingress"], remark)


def _origin(event: Event) -> Origin | None:
    rule: Any = event.rule
    if rule is None or not rule.id or rule.policy is None:
        return None
    kind, _, rest = rule.policy.partition("/")
    namespace, _, name = rest.rpartition("/")
    return Origin(PolicyKey(kind, namespace, name), rule.file or "", rule.line or 0, rule.path or "")
