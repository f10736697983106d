"""From clsact filters to tcx links under traffic: nothing lost, nothing judged twice, nothing unjudged."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from kinety import abi
from kinety.model.endpoint import EndpointId
from kinety.model.identity import ClassId, Identity
from tests.netns.datapath_node import (
    DENY,
    SILENCE_SECONDS,
    Node,
    address,
    connect,
    listening,
    node,
    plan,
    refused,
    rule_sets,
    socket_to,
    table,
    wait_until,
)

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

EMPIRE, EMPIRE_CLASS = Identity(256), ClassId(3)
SERVER, CLIENT = EndpointId(11), EndpointId(12)
PORT = 9000
families = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture
def lab() -> Iterator[Node]:
    """A server and a client on clsact."""
    with node() as built:
        built.open()
        built.attach("server", SERVER)
        built.attach("client", CLIENT)
        built.put({SERVER: plan(EMPIRE), CLIENT: plan(EMPIRE)}, identity_classes={EMPIRE: EMPIRE_CLASS})
        yield built


class Stream:
    """Numbered datagrams, sent one after the other for as long as the block runs."""

    def __init__(self, source: socket.socket, sink: socket.socket, target: tuple[str, int]) -> None:
        self._source, self._sink, self._target = source, sink, target
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent = 0
        self.seen: list[int] = []

    def _run(self) -> None:
        while not self._stop.is_set():
            self._source.sendto(self.sent.to_bytes(4, "big"), self._target)
            self.sent += 1
            self._drain()

    def _drain(self) -> None:
        while True:
            try:
                self.seen.append(int.from_bytes(self._sink.recv(16), "big"))
            except BlockingIOError:
                return

    def __enter__(self) -> Stream:
        self._sink.setblocking(False)
        self._thread.start()
        wait_until(lambda: self.sent > 50)
        return self

    def __exit__(self, *_: object) -> None:
        behind = self.sent + 50
        wait_until(lambda: self.sent > behind)
        self._stop.set()
        self._thread.join()
        self._sink.settimeout(SILENCE_SECONDS)
        with contextlib.suppress(TimeoutError):
            while len(self.seen) < self.sent:
                self.seen.append(int.from_bytes(self._sink.recv(16), "big"))


def promote(lab: Node) -> None:
    assert lab.datapath is not None
    while lab.run(lab.datapath.maintain):
        pass
    statistics = lab.run(lab.datapath.statistics)
    assert statistics.endpoints_promoted == 2


def judged(lab: Node, reason: abi.Reason) -> int:
    assert lab.datapath is not None
    counted = lab.run(lab.datapath.counters)
    return sum(counter.packets for (each, _), counter in counted.items() if each is reason)


@families
@pytest.mark.parametrize(
    ("source", "reason"),
    [("client", abi.Reason.FORWARDED_LOCAL), ("host", abi.Reason.FORWARDED_ENDPOINT)],
)
def test_no_packet_is_lost_or_judged_twice(lab: Node, family: int, source: str, reason: abi.Reason) -> None:
    where = address(SERVER, family)
    origin = lab.namespace if source == "host" else lab.endpoints[source]
    with (
        socket_to(origin, where, socket.SOCK_DGRAM) as sender,
        socket_to(lab.endpoints["server"], where, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind((where, PORT))
        before = judged(lab, reason)
        with Stream(sender, receiver, (where, PORT)) as stream:
            promote(lab)
        assert stream.seen == list(range(stream.sent))
        assert judged(lab, reason) - before == stream.sent


@families
def test_a_denied_stream_stays_denied(lab: Node, family: int) -> None:
    lab.put(
        {SERVER: plan(EMPIRE, ingress="closed")},
        rule_sets=rule_sets(closed=table({(EMPIRE_CLASS, 0, 0, 0): DENY})),
    )
    where = address(SERVER, family)
    with (
        socket_to(lab.endpoints["client"], where, socket.SOCK_DGRAM) as sender,
        socket_to(lab.endpoints["server"], where, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind((where, PORT))
        before = judged(lab, abi.Reason.POLICY_DENIED)
        with Stream(sender, receiver, (where, PORT)) as stream:
            promote(lab)
        assert stream.seen == []
        assert judged(lab, abi.Reason.POLICY_DENIED) - before == stream.sent


def test_clsact_only_stays_on_clsact() -> None:
    with node(clsact_only=True) as lab:
        datapath = lab.open()
        interface = lab.attach("server", SERVER)
        lab.put({SERVER: plan(EMPIRE)})
        while lab.run(datapath.maintain):
            pass
        assert lab.run(datapath.statistics).endpoints_promoted == 0
        assert "clsact" in lab.command("tc", "qdisc", "show", "dev", interface.name)
        with listening(lab.endpoints["server"], address(SERVER, 4), PORT):
            assert connect(lab.namespace, address(SERVER, 4), PORT)


def test_a_promoted_endpoint_can_be_detached_and_attached_again(lab: Node) -> None:
    promote(lab)
    assert lab.datapath is not None
    assert lab.run(lab.datapath.detach, SERVER)
    assert lab.run(lab.datapath.statistics).endpoints_promoted == 1
    lab.attach("server", SERVER)
    with listening(lab.endpoints["server"], address(SERVER, 4), PORT):
        assert connect(lab.endpoints["client"], address(SERVER, 4), PORT)


def test_a_promotion_that_was_cut_short_is_finished(lab: Node) -> None:
    assert lab.datapath is not None
    interface = lab.datapath.interface(SERVER)
    assert interface is not None
    lab.run(lab.datapath._links.promote, interface.slot, interface.index)
    half = lab.settings.pins.rglob(f"{interface.slot}-egress")
    next(half).unlink()  # as if killed between its two links
    lab.restart_with_plans({SERVER: plan(EMPIRE), CLIENT: plan(EMPIRE)}, {EMPIRE: EMPIRE_CLASS})
    promote(lab)
    with listening(lab.endpoints["server"], address(SERVER, 4), PORT):
        assert connect(lab.endpoints["client"], address(SERVER, 4), PORT)


def test_filters_judge_when_somebody_detaches_a_link(lab: Node) -> None:
    rows = rule_sets(closed=table({(EMPIRE_CLASS, 0, 0, 0): DENY}))
    lab.put({SERVER: plan(EMPIRE, ingress="closed")}, rule_sets=rows)
    promote(lab)
    links = list(lab.settings.pins.rglob("links/*"))
    assert len(links) == 4
    for pin in links:
        pin.unlink()
    with listening(lab.endpoints["server"], address(SERVER, 4), PORT):
        assert refused(lab.endpoints["client"], address(SERVER, 4), PORT)
