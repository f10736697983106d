"""What only the redirect ``sockmap`` does: words that no packet carries, where nothing speaks against it."""

import hashlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from kinety.abi import Reason, Redirect
from kinety.kernel.namespace import Namespace
from tests.netns.datapath_node import (
    ANSWER_SECONDS,
    Node,
    address,
    listening,
    plan,
    socket_to,
    wait_until,
)
from tests.netns.redirect_lab import (
    ALLIANCE,
    CLIENT,
    EMPIRE,
    NEEDS,
    SERVER,
    Talk,
    both_proxies,
    counted,
    families,
    redirect_lab,
    talking,
)
from tests.netns.test_redirect_change import is_reset

pytestmark = pytest.mark.needs(*NEEDS, "btf")

WORDS = 50
#: What a stalled connection may swallow: the queues of four sockets. TCP lets them grow to some 6 MB each.
MOST = 32 << 20


@pytest.fixture
def lab() -> Iterator[Node]:
    with redirect_lab(redirect=Redirect.SOCKMAP) as built:
        built.put({CLIENT: plan(ALLIANCE, egress="egress")})
        yield built


@pytest.fixture
def talk(lab: Node, family: int) -> Iterator[Talk]:
    with (
        both_proxies(lab),
        talking(lab.endpoints["client"], lab.endpoints["server"], address(SERVER, family)) as made,
    ):
        assert made.works()
        yield made


def packets_of(lab: Node, work: Callable[[], object]) -> int:
    """What the client sent to its proxy as packets meanwhile."""
    before = counted(lab, Reason.FORWARDED_PROXY)
    work()
    return counted(lab, Reason.FORWARDED_PROXY) - before


@families
def test_words_go_without_packets(lab: Node, talk: Talk, family: int) -> None:
    """Those between proxy and server are packets as ever: one of the server's for each word."""

    def many() -> None:
        assert all(talk.works() for _ in range(WORDS))

    carried = packets_of(lab, many)
    assert WORDS <= carried <= 1.2 * WORDS, "as packets there would be two"
    assert talk.refuses()


@families
def test_after_a_change_of_policy_the_flow_is_judged_anew(lab: Node, talk: Talk, family: int) -> None:
    lab.put({CLIENT: plan(ALLIANCE), SERVER: plan(EMPIRE)})
    assert is_reset(talk.client)


@families
def test_who_stays_under_the_same_rules_goes_on(lab: Node, talk: Talk, family: int) -> None:
    for _ in range(3):
        lab.put({CLIENT: plan(ALLIANCE, egress="egress")})
        assert talk.works()
        assert talk.refuses()


def has_route(space: Namespace, place: tuple[str, int]) -> bool:
    """Whether a namespace's new address is in its routes, which IPv6's is only after a moment."""
    with socket_to(space, place[0], socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(place) == 0


@families
def test_who_has_the_same_addresses_elsewhere_is_not_met(lab: Node, talk: Talk, family: int) -> None:
    """A namespace that is no endpoint has a client and a server with the very ends of the connection."""
    elsewhere = lab.namespace_for("elsewhere")
    mine, theirs = talk.client.getsockname()[:2], talk.client.getpeername()[:2]
    for words in (
        ["link", "set", "lo", "up"],
        *(["address", "add", each[0], "dev", "lo", "nodad"] for each in (mine, theirs)),
    ):
        elsewhere.call(partial(subprocess.run, ["ip", *words], check=True))
    wait_until(partial(has_route, elsewhere, theirs))
    with (
        listening(elsewhere, *theirs) as listener,
        socket_to(elsewhere, theirs[0], socket.SOCK_STREAM) as client,
    ):
        client.bind(mine)
        client.connect(theirs)
        server, _ = listener.accept()
        with server:
            other = Talk(client, server, mine)
            for end in (client, server):
                end.settimeout(ANSWER_SECONDS)
            for _ in range(10):
                assert other.works()
                assert talk.works()
                assert other.hears()
                assert talk.refuses()


def stalled(end: socket.socket) -> int:
    """Bytes that it could send to somebody who reads nothing."""
    end.settimeout(0.3)
    sent = 0
    try:
        while sent <= 2 * MOST:
            sent += end.send(bytes(65536))
    except TimeoutError:
        return sent
    return sent


@families
@pytest.mark.parametrize("way", ["request", "answer"])
def test_who_does_not_read_is_sent_no_more(lab: Node, talk: Talk, family: int, way: str) -> None:
    assert stalled(talk.client if way == "request" else talk.server) < MOST


@families
@pytest.mark.parametrize("way", ["request", "answer"])
def test_every_byte_arrives_in_order(lab: Node, talk: Talk, family: int, way: str) -> None:
    """With pauses of the reader, so that some go by packets and some do not."""
    source, target = (talk.client, talk.server) if way == "request" else (talk.server, talk.client)
    sent, got, total = hashlib.sha256(), hashlib.sha256(), 24 << 20
    source.settimeout(ANSWER_SECONDS * 10)
    target.settimeout(ANSWER_SECONDS * 10)
    blocks = [number.to_bytes(4, "big") * 4001 for number in range(total // 16004)]

    def write() -> None:
        for block in blocks:
            sent.update(block)
            source.sendall(block)

    writer = threading.Thread(target=write)
    writer.start()
    received = 0
    pause = threading.Event()
    while received < len(blocks) * 16004:
        data = target.recv(1 << 20)
        assert data
        got.update(data)
        received += len(data)
        if received % 7 == 0:
            pause.wait(0.002)
    writer.join()
    assert got.digest() == sent.digest()
    assert talk.works()
