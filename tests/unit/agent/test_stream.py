import asyncio
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest

from kinety import abi
from kinety.agent.denial import Denials, Denied
from kinety.agent.directory import Directory
from kinety.agent.stream import BACKLOG, EventStream
from kinety.agent.worker import Worker
from kinety.api import types
from kinety.api.errors import ApiError
from kinety.api.insight import Denial
from kinety.model.address import pack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.identity import Identity
from kinety.model.label import Label
from kinety.model.rule import Action, Direction, Mode, Origin, PolicyKey, Rule, RuleId
from kinety.model.selector import LabelSelector

XWING, DEATHSTAR = pack_address("10.0.0.3"), pack_address("10.0.0.1")
RULE = Rule(
    LabelSelector(),
    Direction.INGRESS,
    Action.ALLOW,
    None,
    None,
    True,
    Origin(PolicyKey("CiliumNetworkPolicy", "default", "rule1"), "policy.yaml", 12, "spec.ingress[0]"),
)


class PipeReader:
    """Events from a list, readable when there are some, as the ring buffer is."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        self.events: list[abi.Event] = []
        self.lost_events = 0

    def put(self, *events: abi.Event) -> None:
        self.events += events
        os.write(self._writing, b"x")

    def fileno(self) -> int:
        return self._reading

    def read(self, limit: int = 4096) -> list[abi.Event]:
        taken, self.events = self.events[:limit], self.events[limit:]
        if taken and not self.events:
            os.read(self._reading, 65536)
        return taken

    def lost(self) -> int:
        return self.lost_events

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


@pytest.fixture
def reader() -> Iterator[PipeReader]:
    made = PipeReader()
    yield made
    made.close()


@pytest.fixture
def directory() -> Directory:
    labels = {Identity(258): frozenset({Label("k8s", "org", "alliance")})}
    made = Directory(labels.get)
    made.add_endpoint(Endpoint(EndpointId(1), "default", "deathstar", frozenset(), DEATHSTAR, None))
    made.add_endpoint(Endpoint(EndpointId(3), "default", "xwing", frozenset(), XWING, None))
    made.change_rules({RuleId(7): RULE})
    return made


REASONS = {port: Denial((f"CiliumNetworkPolicy/default/for-{port}",), None) for port in (80, 81)}


@pytest.fixture
def denials() -> Iterator[Denials]:
    worker = Worker()
    yield Denials(worker, lambda flow: REASONS[flow.port], lambda: 0)
    worker.close()


class Slow:
    """Reasons that take their time, and are none."""

    def __init__(self) -> None:
        self.learnt = asyncio.Event()

    async def learn(self, flows: Iterable[Denied]) -> None:
        if list(flows):
            await self.learnt.wait()

    def reason(self, flow: Denied) -> None:
        return None


def event(**fields: object) -> abi.Event:
    values: dict[str, object] = {
        "time": 5_000_000_000,
        "endpoint": 1,
        "local_identity": 256,
        "remote_identity": 258,
        "rule": 7,
        "source": XWING,
        "destination": DEATHSTAR,
        "source_port": 40000,
        "destination_port": 80,
        "protocol": 6,
        "kind": int(abi.EventKind.DROP),
        "reason": int(abi.Reason.POLICY_DENIED),
        "direction": int(abi.Direction.INGRESS),
        "verdict": int(abi.Verdict.DENY),
        "tcp_flags": 2,
        "length": 60,
        "rule_in_force": 0,
        "verdict_in_force": 0,
        "hook": 0,
    }
    return abi.Event(**(values | fields))  # type: ignore[arg-type]


async def watched(
    reader: PipeReader, directory: Directory, denials: Denials, events: list[abi.Event], **wanted: str
) -> list[types.Event]:
    stream = EventStream(lambda: reader, directory, denials)
    watch = stream.subscribe(wanted)
    reader.put(*events)
    found = await asyncio.wait_for(watch.read(), 10)
    watch.close()
    return found


def test_events_have_names(reader: PipeReader, directory: Directory, denials: Denials) -> None:
    (found,) = asyncio.run(watched(reader, directory, denials, [event()]))
    assert (found.kind, found.direction, found.verdict, found.protocol) == ("drop", "ingress", "deny", "TCP")
    assert (found.reason, found.sentence) == ("policy-denied", "Denied by policy")
    assert found.source == types.EventEnd("10.0.0.3", 40000, 258, "default/xwing", ("k8s:org=alliance",))
    assert found.destination == types.EventEnd("10.0.0.1", 80, 256, "default/deathstar", ())
    policy = "CiliumNetworkPolicy/default/rule1"
    assert found.rule == types.EventRule(7, policy, "policy.yaml", 12, "spec.ingress[0]")


def test_a_shadow_says_what_would_be_and_what_is(
    reader: PipeReader, directory: Directory, denials: Denials
) -> None:
    """A drop has no such thing, and a shadow no end that the packet met."""
    directory.change_rules({RuleId(8): replace(RULE, mode=Mode.STAGED)})
    told = event(kind=4, reason=0, rule=8, rule_in_force=7, verdict_in_force=int(abi.Verdict.ALLOW))
    shadow, drop = asyncio.run(watched(reader, directory, denials, [told, event()]))
    assert (shadow.kind, shadow.would, shadow.verdict, shadow.verdict_in_force) == (
        "shadow",
        "drop",
        "deny",
        "allow",
    )
    assert (shadow.rule, shadow.rule_in_force) == (directory.rule(RuleId(8)), directory.rule(RuleId(7)))
    assert directory.rule(RuleId(8)).mode == "staged"
    assert (shadow.reason, shadow.sentence) == (None, None)
    assert (drop.would, drop.rule_in_force, drop.verdict_in_force) == (None, None, None)


def test_a_filters_drop_has_the_filters_name(
    reader: PipeReader, directory: Directory, denials: Denials
) -> None:
    directory.name_hooks({2: "no-mail"})
    reason = int(abi.Reason.HOOK_DENIED)
    events = [event(reason=reason, hook=3), event(reason=reason, hook=11), event(reason=reason, hook=4)]
    found = asyncio.run(watched(reader, directory, denials, events))
    assert [each.hook for each in found] == ["no-mail", "no-mail", None], "a slot is one in both directions"
    assert found[0].sentence == "Dropped by a filter of the node's operator"


def test_the_judging_end_has_the_local_identity(
    reader: PipeReader, directory: Directory, denials: Denials
) -> None:
    answer = event(source=DEATHSTAR, destination=XWING)
    forged = event(
        source=pack_address("192.0.2.1"), endpoint=3, direction=0, local_identity=258, remote_identity=256
    )
    found = asyncio.run(watched(reader, directory, denials, [answer, forged]))
    assert [(item.source.identity, item.destination.identity) for item in found] == [(256, 258), (258, 256)]  # type: ignore[union-attr]


def test_rules_that_nobody_knows(reader: PipeReader, directory: Directory, denials: Denials) -> None:
    found = asyncio.run(watched(reader, directory, denials, [event(rule=0), event(rule=99)]))
    assert [item.rule for item in found] == [
        types.EventRule(number, None, None, None, None) for number in (0, 99)
    ]


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({}, 3),
        ({"kind": "drop"}, 2),
        ({"kind": "new-flow,drop"}, 3),
        ({"kind": "shadow"}, 0),
        ({"verdict": "allow"}, 1),
        ({"direction": "egress"}, 1),
        ({"protocol": "udp"}, 1),
        ({"protocol": "17"}, 1),
        ({"port": "53"}, 1),
        ({"address": "10.0.0.3"}, 3),
        ({"address": "192.0.2.9"}, 1),
        ({"endpoint": "xwing"}, 3),
        ({"endpoint": "default/deathstar"}, 2),
        ({"endpoint": "other/deathstar"}, 0),
        ({"endpoint": "deathstar", "verdict": "allow"}, 1),
    ],
)
def test_filters(
    reader: PipeReader, directory: Directory, denials: Denials, wanted: dict[str, str], count: int
) -> None:
    allowed = event(kind=int(abi.EventKind.NEW_FLOW), verdict=int(abi.Verdict.ALLOW), reason=0)
    elsewhere = event(
        destination=pack_address("192.0.2.9"), destination_port=53, protocol=17, direction=0, endpoint=3
    )
    end = event(
        kind=int(abi.EventKind.SHADOW), source=bytes(16), destination=bytes(16), endpoint=0, source_port=9
    )

    async def count_found() -> int:
        stream = EventStream(lambda: reader, directory, denials)
        watch, marker = stream.subscribe(wanted), stream.subscribe({"kind": "shadow", "port": "9"})
        reader.put(event(), allowed, elsewhere, end)
        await asyncio.wait_for(marker.read(), 10)
        watch.miss(1)
        found = await watch.read()
        stream.close()
        return len([item for item in found if item.kind != "lost" and item.source.port != 9])  # type: ignore[union-attr]

    assert asyncio.run(count_found()) == count


@pytest.mark.parametrize(
    "wanted",
    [
        {"kind": "drip"},
        {"verdict": "maybe"},
        {"direction": "up"},
        {"protocol": "256"},
        {"protocol": "x"},
        {"port": "65536"},
        {"port": "-1"},
        {"address": "x"},
    ],
)
def test_filters_that_make_no_sense(
    reader: PipeReader, directory: Directory, denials: Denials, wanted: dict[str, str]
) -> None:
    stream = EventStream(lambda: reader, directory, denials)
    with pytest.raises(ApiError) as raised:
        stream.subscribe(wanted)
    assert raised.value.status == 400
    assert stream.watchers == 0


def test_a_drop_by_default_says_why(reader: PipeReader, directory: Directory, denials: Denials) -> None:
    allowed = event(kind=int(abi.EventKind.NEW_FLOW), verdict=int(abi.Verdict.ALLOW), reason=0, rule=0)
    drops = [event(rule=0), event(), event(rule=0, destination_port=81)]
    found = asyncio.run(watched(reader, directory, denials, [*drops, allowed]))
    assert [item.denial for item in found] == [REASONS[80], None, REASONS[81], None]


def test_a_watch_that_is_interrupted_while_it_learns_loses_nothing(
    reader: PipeReader, directory: Directory
) -> None:
    async def story() -> None:
        denials = Slow()
        stream = EventStream(lambda: reader, directory, denials)  # type: ignore[arg-type]
        watch = stream.subscribe({})
        reader.put(event(rule=0, length=1))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(watch.read(), 0.05)
        denials.learnt.set()
        assert [item.length for item in await asyncio.wait_for(watch.read(), 10)] == [1]
        stream.close()

    asyncio.run(story())


def test_a_watcher_sees_what_happens_from_then_on(
    reader: PipeReader, directory: Directory, denials: Denials
) -> None:
    async def story() -> None:
        stream = EventStream(lambda: reader, directory, denials)
        reader.put(event(length=1))
        reader.lost_events = 5
        watch = stream.subscribe({})
        reader.put(event(length=2))
        assert [item.length for item in await watch.read()] == [2]
        reader.lost_events = 8
        reader.put(event(length=3))
        found = await watch.read()
        assert [(item.kind, item.length, item.count) for item in found] == [("drop", 3, 0), ("lost", 0, 3)]
        watch.close()
        reader.put(event(length=4))
        await asyncio.sleep(0)
        assert reader.events, "nobody watches, so nobody reads"

    asyncio.run(story())


def test_a_slow_watcher_loses_events_and_is_told(
    reader: PipeReader, directory: Directory, denials: Denials
) -> None:
    async def story() -> None:
        stream = EventStream(lambda: reader, directory, denials)
        slow, quick = stream.subscribe({}), stream.subscribe({"kind": "drop"})
        seen = 0
        reader.put(*[event()] * (BACKLOG + 100))
        while seen < BACKLOG + 100:
            seen += len(await asyncio.wait_for(quick.read(), 10))
        found = await slow.read()
        assert len(found) == BACKLOG + 1
        assert (found[-1].kind, found[-1].count) == ("lost", 100)
        stream.close()
        assert await slow.read() == []

    asyncio.run(story())


def test_without_events_nobody_can_watch(directory: Directory, denials: Denials) -> None:
    stream = EventStream(lambda: None, directory, denials)
    with pytest.raises(ApiError, match=r"\(--events none\); `kinety status` counts") as raised:
        stream.subscribe({})
    assert raised.value.status == 409
    assert stream.watchers == 0
