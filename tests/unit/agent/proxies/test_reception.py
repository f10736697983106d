import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from kinety.abi import Verdict
from kinety.agent.denial import Denials
from kinety.agent.names.names import Names
from kinety.agent.proxies.reception import Reception, Telling
from kinety.agent.stream import EventStream
from kinety.agent.worker import Worker
from kinety.api import types
from kinety.api.proxy import Request
from kinety.model.address import pack_address
from kinety.model.identity import ReservedIdentity
from tests.unit.agent.conftest import Agent
from tests.unit.agent.proxies.test_proxies import apply
from tests.unit.agent.test_stream import PipeReader

CLIENT, SERVER = (pack_address("10.0.0.2"), 40000), (pack_address("10.0.0.1"), 80)


@pytest.fixture
def reader() -> Iterator[PipeReader]:
    made = PipeReader()
    yield made
    made.close()


def told(agent: Agent, reader: PipeReader, wanted: dict[str, str], *tellings: Telling) -> list[types.Event]:
    async def story() -> list[types.Event]:
        worker = Worker()
        denials = Denials(worker, lambda flow: None, lambda: 0)
        stream = EventStream(lambda: reader, agent.control.directory, denials)
        reception = Reception()
        reception.tell(tellings[0])  # nobody can watch yet
        reception.open(agent.control.proxies, stream, Names(agent.control, Worker(), agent.names))
        reception.tell(tellings[0])  # nobody watches
        watch = stream.subscribe(wanted)
        for each in tellings:
            reception.tell(each)
        found = await asyncio.wait_for(watch.read(), 10)
        watch.close()
        worker.close()
        return found

    return asyncio.run(story())


def refused(**fields: object) -> Telling:
    request = Request("http", "PUT", "/v1/exhaust-port", "deathstar", 403, 1.5)
    values: dict[str, object] = {"port": 10000, "protocol": 6, "denied": True, "request": request}
    return Telling(client=CLIENT, server=SERVER, **(values | fields))  # type: ignore[arg-type]


def test_a_refused_request_has_ends_policies_and_a_rule(busy: Agent, reader: PipeReader) -> None:
    apply(busy, "one")
    (event,) = told(busy, reader, {}, refused())
    assert (event.kind, event.verdict, event.protocol, event.direction) == (
        "request",
        "deny",
        "TCP",
        "ingress",
    )
    assert event.source is not None
    assert event.destination is not None
    assert (event.source.endpoint, event.source.port) == ("default/client", 40000)
    assert (event.destination.endpoint, event.destination.address) == ("default/server", "10.0.0.1")
    whose = busy.control.engine.identity_of_address
    assert event.source.identity == whose(CLIENT[0]) > 255
    assert event.destination.identity == whose(SERVER[0]) > 255
    assert "k8s:app=client" in event.source.labels
    assert event.request is not None
    assert event.request.policies == ("CiliumNetworkPolicy/default/one",)
    assert (event.request.method, event.request.status) == ("PUT", 403)
    assert event.rule is not None
    assert (event.rule.file, event.rule.line) == ("one.yaml", 7)


def test_an_end_outside_is_the_world(busy: Agent, reader: PipeReader) -> None:
    far = (pack_address("198.51.100.7"), 443)
    (event,) = told(busy, reader, {}, replace(refused(), server=far))
    assert event.destination is not None
    assert (event.destination.endpoint, event.destination.identity) == (None, ReservedIdentity.WORLD_IPV4)
    assert event.destination.labels == ("reserved:world-ipv4",)


def test_a_listener_that_is_gone_has_no_rule(busy: Agent, reader: PipeReader) -> None:
    (event,) = told(busy, reader, {}, refused(port=10001))
    assert (event.rule, event.direction) == (None, None)
    assert event.request is not None
    assert event.request.policies == ()


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({"kind": "request"}, 2),
        ({"kind": "drop,request", "verdict": "allow"}, 1),
        ({"endpoint": "server"}, 2),
        ({"direction": "ingress"}, 2),
        ({"port": "40000", "protocol": "TCP", "address": "10.0.0.1"}, 2),
    ],
)
def test_watchers_get_what_they_want(
    busy: Agent, reader: PipeReader, wanted: dict[str, str], count: int
) -> None:
    apply(busy, "one")
    assert len(told(busy, reader, wanted, refused(), refused(denied=False))) == count


@pytest.mark.parametrize(
    "unwanted", [{"kind": "drop"}, {"direction": "egress"}, {"endpoint": "other"}, {"port": "81"}]
)
def test_and_nothing_else(busy: Agent, reader: PipeReader, unwanted: dict[str, str]) -> None:
    apply(busy, "one")
    with pytest.raises(TimeoutError):
        told_soon(busy, reader, unwanted)


def told_soon(agent: Agent, reader: PipeReader, wanted: dict[str, str]) -> None:
    async def story() -> None:
        stream = EventStream(
            lambda: reader, agent.control.directory, Denials(Worker(), lambda _: None, lambda: 0)
        )
        reception = Reception()
        reception.open(agent.control.proxies, stream, Names(agent.control, Worker(), agent.names))
        watch = stream.subscribe(wanted)
        reception.tell(refused())
        try:
            await asyncio.wait_for(watch.read(), 0.05)
        finally:
            watch.close()

    asyncio.run(story())


def test_the_verdict_is_what_became_of_the_request(busy: Agent, reader: PipeReader) -> None:
    (event,) = told(busy, reader, {}, refused(denied=False))
    assert event.verdict == Verdict.ALLOW.name.lower()
