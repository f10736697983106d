"""Filters of the operator on live traffic: swapped without a loss, kept over restarts, refused whole."""

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kinety.datapath.hook_slots import HookSlots
from kinety.kernel.map import Map
from kinety.kernel.program import Program, VerifierRefusal
from kinety.model.endpoint import EndpointId
from kinety.model.identity import Identity
from kinety.model.rule import Direction
from kinety.plan.change import CapacityError, Snapshot
from tests.feature import ROOT
from tests.filters import RECORDER, answer, compiled_filter, filter_object
from tests.netns.datapath_node import (
    HOST,
    OUTSIDE,
    Node,
    address,
    connect,
    echo,
    listening,
    node,
    plan,
    refused,
    socket_to,
    unanswered,
)
from tests.netns.test_datapath_promotion import Stream, promote

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

EMPIRE = Identity(256)
TIE, DEATHSTAR = EndpointId(11), EndpointId(12)
PLANS = {TIE: plan(EMPIRE), DEATHSTAR: plan(EMPIRE)}
PORT = 8080
PASS, DROP = answer(0, "EGRESS", "INGRESS"), answer(1, "EGRESS", "INGRESS")
families = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(params=[False, True], ids=["tcx", "clsact"])
def lab(request: pytest.FixtureRequest) -> Iterator[Node]:
    """Two endpoints that may do everything."""
    with node(clsact_only=request.param) as built:
        built.open()
        built.attach("tie", TIE)
        built.attach("deathstar", DEATHSTAR)
        built.put(PLANS)
        if not request.param:
            promote(built)
        yield built


def slots(lab: Node) -> HookSlots:
    assert lab.datapath is not None
    return lab.datapath.hooks


def load(lab: Node, text: str, name: str = "filter") -> None:
    lab.run(slots(lab).load, name, filter_object(text))


def restart(lab: Node) -> None:
    """Kill, and start again with what the store would know."""
    lab.forget()
    lab.open(Snapshot({}, {}, {}, {}, PLANS), PLANS)


@families
def test_what_a_filter_drops_no_endpoint_sees(lab: Node, family: int) -> None:
    where = address(DEATHSTAR, family)
    assert echo(lab.endpoints["tie"], where)
    load(lab, answer(1, "INGRESS"))
    assert unanswered(lab.endpoints["tie"], where)
    with contextlib.suppress(OSError):  # over IPv6 the node's stack is told so at once
        assert unanswered(lab.namespace, where)
    lab.run(slots(lab).unload, "filter")
    assert echo(lab.endpoints["tie"], where)
    load(lab, answer(1, "EGRESS"))
    for target in (where, HOST[family], OUTSIDE[family]):
        assert unanswered(lab.endpoints["tie"], target)
    [hook] = slots(lab).all()
    assert hook.dropped[Direction.EGRESS].packets >= 3
    lab.run(slots(lab).unload, "filter")
    for target in (where, HOST[family], OUTSIDE[family]):
        assert echo(lab.endpoints["tie"], target)


@families
def test_the_guides_filter_stops_mail_and_nothing_else(lab: Node, family: int) -> None:
    where = address(DEATHSTAR, family)
    lab.run(slots(lab).load, "no-mail", compiled_filter(ROOT / "examples/hooks/no_mail.bpf.c"))
    with listening(lab.endpoints["deathstar"], where, 25), listening(lab.endpoints["deathstar"], where, PORT):
        assert refused(lab.endpoints["tie"], where, 25)
        assert connect(lab.endpoints["tie"], where, PORT)
        assert connect(lab.namespace, where, 25), "the node is no endpoint"


def test_the_guides_trace_counts_who_talks_to_whom(lab: Node) -> None:
    lab.run(slots(lab).load, "trace", compiled_filter(ROOT / "examples/hooks/trace.bpf.c"))
    assert echo(lab.endpoints["tie"], address(DEATHSTAR, 4))
    [hook] = slots(lab).all()
    with Map.open(hook.pins / "talks") as talks:
        counted = {key: int.from_bytes(value, "little") for key, value in talks.items()}
    both_ways = [
        EMPIRE.to_bytes(4, "little") * 2 + bytes((socket.IPPROTO_ICMP, ingress, 0, 0)) for ingress in (0, 1)
    ]
    assert {key: counted.get(key) for key in both_ways} == dict.fromkeys(both_ways, 2), (
        "a ping and its answer"
    )


@families
def test_filters_come_change_and_go_without_a_loss(lab: Node, family: int) -> None:
    where = address(DEATHSTAR, family)
    with ExitStack() as stack:
        sender = stack.enter_context(socket_to(lab.endpoints["tie"], where, socket.SOCK_DGRAM))
        receiver = stack.enter_context(socket_to(lab.endpoints["deathstar"], where, socket.SOCK_DGRAM))
        receiver.bind((where, PORT))
        with Stream(sender, receiver, (where, PORT)) as stream:
            for _ in range(10):
                load(lab, PASS)
                load(lab, RECORDER)
                load(lab, answer(0, "EGRESS"), "other")
                lab.run(slots(lab).unload, "filter")
                lab.run(slots(lab).unload, "other")
        assert stream.seen == list(range(stream.sent))


def test_a_filter_that_drops_is_replaced_by_one_that_drops_and_nothing_slips_through(lab: Node) -> None:
    where = address(DEATHSTAR, 4)
    load(lab, DROP)
    with (
        socket_to(lab.endpoints["tie"], where, socket.SOCK_DGRAM) as sender,
        socket_to(lab.endpoints["deathstar"], where, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind((where, PORT))
        with Stream(sender, receiver, (where, PORT)) as stream:
            for text in (answer(2, "EGRESS", "INGRESS"), DROP) * 10:
                load(lab, text)
        assert stream.seen == []
        assert stream.sent > 50


def test_filters_stay_in_force_over_a_restart_and_cost_it_no_write(lab: Node) -> None:
    load(lab, answer(1, "EGRESS"))
    load(lab, RECORDER, "recorder")
    before = [
        (hook.name, hook.slot, {each.id for each in hook.programs.values()}) for hook in slots(lab).all()
    ]
    lab.forget()
    assert unanswered(lab.endpoints["tie"], address(DEATHSTAR, 4)), "without an agent"
    restart(lab)
    found = slots(lab).all()
    assert [(hook.name, hook.slot, {each.id for each in hook.programs.values()}) for hook in found] == before
    assert slots(lab).writes == 0
    assert unanswered(lab.endpoints["tie"], address(DEATHSTAR, 4))
    lab.run(slots(lab).unload, "filter")
    assert echo(lab.endpoints["tie"], address(DEATHSTAR, 4))


# -- interrupted between any two steps ----------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


def killed(*_: object, **__: object) -> None:
    raise Killed


@pytest.mark.parametrize("former", [None, PASS], ids=["new", "in the place of another"])
@pytest.mark.parametrize(
    "at", ["first pin", "programs pinned", "first slot", "all slots", "old one unpinned"]
)
def test_an_end_between_two_steps_leaves_old_filters_or_new(
    lab: Node, monkeypatch: pytest.MonkeyPatch, at: str, former: str | None
) -> None:
    if former is not None:
        load(lab, former)
    known = ids(lab)
    with monkeypatch.context() as patch:
        _kill(patch, at)
        with pytest.raises(Killed):
            load(lab, DROP)
    restart(lab)
    after = slots(lab).all()
    in_force = at in ("all slots", "old one unpinned") or (at == "first slot" and former is None)
    if in_force:
        assert [hook.name for hook in after] == ["filter"]
        assert not ids(lab) & known
        assert unanswered(lab.endpoints["tie"], address(DEATHSTAR, 4))
    else:
        assert ids(lab) == known
        assert echo(lab.endpoints["tie"], address(DEATHSTAR, 4))
    assert pinned(lab) == ({"filter"} if in_force or former else set())
    load(lab, PASS)
    assert echo(lab.endpoints["tie"], address(DEATHSTAR, 4)), "and it goes on from there"


def _kill(patch: pytest.MonkeyPatch, at: str) -> None:
    """End the next load at a step; what an orderly failure would clean up stays."""
    change = Map.update

    def first_slot_only(self: Map, key: bytes, value: bytes, *rest: object) -> None:
        change(self, key, value, *rest)  # type: ignore[arg-type]
        if self.info.name == "hooks":
            raise Killed

    if at == "first pin":
        patch.setattr(Program, "pin", killed)
    elif at == "programs pinned":
        patch.setattr(HookSlots, "_store", killed)
    elif at == "first slot":
        patch.setattr(Map, "update", first_slot_only)
    elif at == "all slots":
        patch.setattr(HookSlots, "_settle", killed)
    else:
        patch.setattr(Path, "rename", killed)


def ids(lab: Node) -> set[int]:
    """The kernel's numbers of the filters in force."""
    return {each.id for hook in slots(lab).all() for each in hook.programs.values()}


def pinned(lab: Node) -> set[str]:
    return {path.name for path in slots(lab)._directory.iterdir()}


def test_a_slot_that_cannot_be_stored_gives_the_old_filters_back(
    lab: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(lab, PASS)
    known = ids(lab)
    change, calls = Map.update, []

    def second_fails(self: Map, key: bytes, value: bytes, *rest: object) -> None:
        if self.info.name == "hooks":
            calls.append(key)
            if len(calls) == 2:
                raise OSError(errno.ENOMEM, "no memory")
        change(self, key, value, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Map, "update", second_fails)
        with pytest.raises(OSError, match="no memory"):
            load(lab, DROP)
    assert ids(lab) == known
    assert pinned(lab) == {"filter"}
    assert echo(lab.endpoints["tie"], address(DEATHSTAR, 4))


# -- what is no filter --------------------------------------------------------------------------

REFUSED_BY_THE_VERIFIER = {
    "writes to the packet": "bpf_skb_store_bytes(skb, 0, &skb->len, 4, 0); return 0;",
    "points into the packet": "return *(__u8 *)(long)skb->data;",
    "marks the packet": "skb->mark = 1; return 0;",
    "asks for a priority": "skb->priority = 1; return 0;",
    "sends it elsewhere": "return bpf_redirect(1, 0);",
    "gives it back to the stack": "return bpf_clone_redirect(skb, 1, 0);",
    "makes it longer": "return bpf_skb_change_tail(skb, 100, 0);",
    "runs for ever": "for (;;) skb->cb[0]++; return 0;",
    "reads what is not its own": "return *(volatile int *)8;",
}
NO_FILTERS = {
    "a tail call": (
        "struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 1); __type(key, __u32); "
        '__type(value, __u32); } others SEC(".maps");'
        "KINETY_EGRESS int f(struct __sk_buff *skb) { bpf_tail_call(skb, &others, 0); return 0; }",
        "map others is a prog_array",
    ),
    "a program of the datapath's type": (
        'SEC("tc") int f(struct __sk_buff *skb) { return 0; }',
        "f is in section 'tc', which is no point",
    ),
    "a socket filter at no point": (
        'SEC("socket") int f(struct __sk_buff *skb) { return 0; }',
        "f is in section 'socket', which is no point",
    ),
    "two at a point": (
        "KINETY_EGRESS int f(struct __sk_buff *skb) { return 0; }"
        "KINETY_EGRESS int g(struct __sk_buff *skb) { return 1; }",
        "f and g are both for egress",
    ),
    "nothing": ('int x SEC(".data") = 1;', "there is no filter in it"),
}


def nothing_left(lab: Node) -> Callable[[], None]:
    """Whether all is as it is now, descriptors included."""

    def state() -> object:
        held = [os.readlink(f"/proc/self/fd/{entry}") for entry in _descriptors()]
        return sorted(each for each in held if "bpf" in each), pinned(lab), slots(lab).all()

    before = state()
    return lambda: _same(before, state())


def _descriptors() -> list[str]:
    return [entry for entry in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{entry}")]


def _same(before: object, after: object) -> None:
    assert before == after


@pytest.fixture(scope="module")
def still() -> Iterator[Node]:
    """A node that is only looked at."""
    with node() as built:
        built.open()
        yield built


@pytest.mark.parametrize("body", REFUSED_BY_THE_VERIFIER.values(), ids=REFUSED_BY_THE_VERIFIER)
def test_a_filter_that_could_do_more_than_look_is_refused(still: Node, body: str) -> None:
    load(still, PASS)
    same = nothing_left(still)
    with pytest.raises(VerifierRefusal) as refusal:
        load(still, f"KINETY_EGRESS int f(struct __sk_buff *skb) {{ {body} }}")
    assert any(line.startswith("verifier: ") for line in refusal.value.__notes__)
    assert refusal.value.log
    same()


@pytest.mark.parametrize(("text", "message"), NO_FILTERS.values(), ids=NO_FILTERS)
def test_what_is_no_filter_is_refused(still: Node, text: str, message: str) -> None:
    same = nothing_left(still)
    with pytest.raises(ValueError, match=message):
        load(still, text)
    same()


@pytest.mark.parametrize("elf", [b"", b"\x7fELF", os.urandom(512)], ids=["empty", "cut", "noise"])
def test_what_is_no_object_is_refused(still: Node, elf: bytes) -> None:
    same = nothing_left(still)
    with pytest.raises(ValueError, match=r"object|ELF"):
        still.run(slots(still).load, "filter", elf)
    same()


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a/b", "a.b", "a" * 33, "+", "é"])
def test_a_name_is_short_and_plain(still: Node, name: str) -> None:
    with pytest.raises(ValueError, match="a name is 1 to 32 of"):
        load(still, PASS, name)


def test_there_is_room_for_eight(still: Node) -> None:
    for hook in slots(still).all():
        slots(still).unload(hook.name)
    for number in range(8):
        load(still, PASS, f"f{number}")
    with pytest.raises(CapacityError, match="map hooks would need 9 entries and has room for 8"):
        load(still, PASS, "f8")
    load(still, DROP, "f3")
    assert slots(still).unload("f5")
    assert not slots(still).unload("f5")
    load(still, PASS, "f8")
    assert [(hook.name, hook.slot) for hook in slots(still).all()] == [
        (f"f{8 if number == 5 else number}", number) for number in range(8)
    ]


def test_a_node_without_hooks_says_so() -> None:
    with node(hooks=False) as built:
        built.open()
        with pytest.raises(ValueError, match="set up without hooks"):
            load(built, PASS)
        assert slots(built).all() == ()
