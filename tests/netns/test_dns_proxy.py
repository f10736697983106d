"""The DNS proxy's process with real packets, redirected by nftables: what reaches whom, in whose name."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest

from kinety.testing.redirected import MARK, Redirected, redirected, run
from kinety.testing.wait import wait_until
from tests.netns.dns_world import FAMILIES, LISTENER, PORT, Client, NameServer, answer, proxy, read, state

pytestmark = pytest.mark.needs("root", "netns", "nft", "ip", "ipv6")

#: Of the server's machine, and nobody listens there.
DEAF = {4: "10.91.2.3", 6: "fd91:2::3"}
WWW = "www.example.com. 60 IN A 192.0.2.1"
NOT_LONG = 0.3


@pytest.fixture(scope="module")
def world() -> Iterator[Redirected]:
    with redirected() as built:
        built.redirect(LISTENER)
        for family, address in DEAF.items():
            run(built.server, f"ip address add {address}/{32 if family == 4 else 128} dev eth0")
        yield built


@pytest.fixture(scope="module")
def names(world: Redirected) -> Iterator[NameServer]:
    made = NameServer(world.server, lambda query, tcp: [])
    yield made
    made.close()


@pytest.fixture
def server(names: NameServer) -> NameServer:
    names.asked.clear()
    names.answering = lambda query, tcp: [answer(query, WWW)]
    return names


@pytest.fixture(scope="module", autouse=True)
def served(world: Redirected, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("run")
    with proxy(world, directory, state(set=(LISTENER, ["*.example.com", "example.org"]))):
        yield directory


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def client(world: Redirected, server: NameServer, family: int) -> Client:
    return Client(world, family)


def query(name: str = "www.example.com", kind: str = "A", **more: int) -> bytes:
    return dns.message.make_query(name, kind, **more).to_wire()


def code(message: bytes) -> dns.rcode.Rcode:
    return dns.message.from_wire(message).rcode()


def framed(*messages: bytes) -> bytes:
    return b"".join(len(each).to_bytes(2, "big") + each for each in messages)


def test_what_is_allowed_is_asked_in_the_clients_name_and_answered_in_the_servers(
    client: Client, server: NameServer
) -> None:
    asked = [query() for _ in range(5)]
    for each in asked:
        got = dns.message.from_wire(client.ask(each))
        assert got.id == int.from_bytes(each[:2], "big")
        assert got.answer[0][0].to_text() == "192.0.2.1"
    assert {address for address, _, _ in server.asked} == {client.address}
    assert len({port for _, port, _ in server.asked}) == 1, "the socket is used again"
    assert server.asked[0][1] >= 61000
    assert [each[2:] for _, _, each in server.asked] == [each[2:] for each in asked]
    assert [each[:2] for _, _, each in server.asked] != [each[:2] for each in asked]


def test_what_is_denied_is_refused_and_never_asked(client: Client, server: NameServer) -> None:
    asked = dns.message.make_query("www.example.net", "A", use_edns=0, payload=4096, want_dnssec=True)
    got = dns.message.from_wire(client.ask(asked.to_wire()))
    assert got.rcode() == dns.rcode.REFUSED
    assert got.question == asked.question
    assert got.edns == 0
    assert got.ednsflags & dns.flags.DO
    assert not server.asked


def test_the_case_of_a_name_is_kept_both_ways(client: Client, server: NameServer) -> None:
    asked = query("wWw.eXample.cOm")
    got = client.ask(asked)
    assert b"\3wWw\7eXample\3cOm" in server.asked[0][2]
    assert b"\3wWw\7eXample\3cOm" in got


def test_packets_bear_their_marks(world: Redirected, client: Client) -> None:
    upstream = LISTENER << 16 | 0x0A00
    run(
        world.node,
        "nft -f -",
        f"""table inet marks {{ chain output {{ type filter hook output priority 0;
          oifname server meta mark {upstream:#x} udp dport 53 counter
          oifname client meta mark {MARK:#x} udp sport 53 counter
          oifname server meta mark {upstream:#x} tcp dport 53 counter
        }}
        }}""",
    )
    assert code(client.ask(query())) == dns.rcode.NOERROR
    client.ask_by_tcp(query())
    counted = run(world.node, "nft list table inet marks")
    run(world.node, "nft delete table inet marks")
    assert counted.count("counter packets") == 3
    assert "packets 0" not in counted


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (query("example.org", "AXFR"), dns.rcode.REFUSED),
        (b"ab\x01\0\0\2\0\0\0\0\0\0" + b"\7example\3org\0\0\1\0\1" * 2, dns.rcode.FORMERR),
        (b"ab\x01\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1", dns.rcode.FORMERR),
        (b"ab\x28\0\0\1\0\0\0\0\0\0\7example\3org\0\0\1\0\1", dns.rcode.NOTIMP),
    ],
    ids=["a zone", "two names", "a loop", "another operation"],
)
def test_what_is_no_plain_question_is_never_asked(
    client: Client, server: NameServer, asked: bytes, expected: int
) -> None:
    assert client.ask(asked)[3] & 0xF == expected
    assert [each[3] & 0xF for each in client.ask_by_tcp(asked)] == [expected]
    assert not server.asked


@pytest.mark.parametrize("asked", [b"", b"short", answer(query(), WWW), query() + bytes(5000)], ids=len)
def test_what_is_no_question_is_dropped(client: Client, server: NameServer, asked: bytes) -> None:
    with client.datagrams() as asking:
        asking.settimeout(NOT_LONG)
        asking.send(asked)
        with pytest.raises(TimeoutError):
            asking.recv(512)
    assert not server.asked
    assert code(client.ask(query())) == dns.rcode.NOERROR


def test_answers_to_nobodys_question_reach_nobody(client: Client, server: NameServer) -> None:
    def answers(asked: bytes, tcp: bool) -> list[bytes]:
        right = answer(asked, WWW)
        wrong = bytes((right[0] ^ 1, right[1]))
        other = answer(asked[:2] + query("other.example.com")[2:], "other.example.com. 60 IN A 192.0.2.66")
        return [wrong + right[2:], other, asked, right[:2] + b"\x81\x80" + bytes(8), right, right]

    server.answering = answers
    with client.datagrams() as asking:
        asking.send(query())
        assert dns.message.from_wire(asking.recv(512)).answer[0][0].to_text() == "192.0.2.1"
        asking.settimeout(NOT_LONG)
        with pytest.raises(TimeoutError):
            asking.recv(512)


def test_answers_from_somebody_else_reach_nobody(
    client: Client, server: NameServer, world: Redirected, family: int
) -> None:
    with world.server.socket(FAMILIES[family], socket.SOCK_DGRAM) as other:
        other.bind((DEAF[family], PORT))

        def spoof(asked: bytes, tcp: bool) -> list[bytes]:
            other.sendto(answer(asked, "www.example.com. 60 IN A 192.0.2.66"), server.asked[-1][:2])
            return [answer(asked, WWW)]

        server.answering = spoof
        assert dns.message.from_wire(client.ask(query())).answer[0][0].to_text() == "192.0.2.1"


def test_an_answer_that_cannot_be_read_becomes_a_failure(client: Client, server: NameServer) -> None:
    loop = b"\xc0\x21\0\1\0\1\0\0\0\x3c\0\4abcd"
    server.answering = lambda asked, tcp: [
        asked[:2] + struct.pack("!5H", 0x8180, 1, 1, 0, 0) + asked[12:] + loop
    ]
    assert code(client.ask(query(use_edns=-1))) == dns.rcode.SERVFAIL
    assert [code(each) for each in client.ask_by_tcp(query(use_edns=-1))] == [dns.rcode.SERVFAIL]


def test_where_nobody_answers_is_a_failure_at_once(
    world: Redirected, server: NameServer, family: int
) -> None:
    deaf = Client(world, family, DEAF[family])
    with deaf.datagrams() as asking:
        for _ in range(3):
            asking.send(query())
        assert {code(asking.recv(512)) for _ in range(3)} == {dns.rcode.SERVFAIL}
    assert [code(each) for each in deaf.ask_by_tcp(query())] == [dns.rcode.SERVFAIL]


def test_a_truncated_answer_makes_the_client_come_by_tcp(client: Client, server: NameServer) -> None:
    server.answering = lambda asked, tcp: [answer(asked, *([WWW] if tcp else []), truncated=not tcp)]
    assert dns.message.from_wire(client.ask(query())).flags & dns.flags.TC
    [whole] = client.ask_by_tcp(query())
    assert dns.message.from_wire(whole).answer


def test_an_answer_larger_than_a_packet_arrives_whole(client: Client, server: NameServer) -> None:
    records = [f'www.example.com. 60 IN TXT "{number:0200}"' for number in range(18)]
    server.answering = lambda asked, tcp: [answer(asked, *records)]
    got = dns.message.from_wire(client.ask(query(kind="TXT", use_edns=0, payload=4096)))
    assert len(got.answer[0]) == 18


def test_a_name_server_of_the_nodes_own_is_not_in_the_way(
    client: Client, world: Redirected, family: int
) -> None:
    anybody = "0.0.0.0" if family == 4 else "::"
    with world.node.socket(FAMILIES[family], socket.SOCK_DGRAM) as own:
        own.bind((anybody, PORT))
        assert code(client.ask(query())) == dns.rcode.NOERROR


def test_a_listener_that_is_asked_itself_asks_nobody(
    world: Redirected, server: NameServer, family: int
) -> None:
    listener = ("127.0.0.1" if family == 4 else "::1", LISTENER)
    with world.node.socket(FAMILIES[family], socket.SOCK_DGRAM) as asking:
        asking.settimeout(NOT_LONG)
        asking.sendto(query(), listener)
        with pytest.raises(TimeoutError):
            asking.recv(512)
    with world.node.socket(FAMILIES[family], socket.SOCK_STREAM) as asking:
        asking.settimeout(2)
        asking.connect(listener)
        assert asking.recv(1) == b""
    assert not server.asked


def test_by_tcp_questions_follow_each_other(client: Client, server: NameServer) -> None:
    queries = [query(f"{name}.example.com") for name in ("a", "b", "c")]
    queries.insert(1, query("example.net"))
    got = client.ask_by_tcp(*queries)
    assert {each[:2]: code(each) for each in got} == {
        each[:2]: dns.rcode.REFUSED if index == 1 else dns.rcode.NOERROR for index, each in enumerate(queries)
    }
    assert len(server.asked) == 3
    assert {address for address, _, _ in server.asked} == {client.address}
    [port] = {port for _, port, _ in server.asked}
    assert port >= 61000


def test_by_tcp_a_question_may_come_in_pieces_and_the_client_stop_talking(client: Client) -> None:
    with client.stream() as asking, asking.makefile("rb") as answers:
        asking.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in framed(query(), query("example.net")):
            asking.send(bytes((byte,)))
        asking.shutdown(socket.SHUT_WR)
        assert {code(read(answers)), code(read(answers))} == {dns.rcode.NOERROR, dns.rcode.REFUSED}
        with pytest.raises(EOFError):
            read(answers)


def test_by_tcp_more_questions_than_may_wait_are_all_answered(client: Client, server: NameServer) -> None:
    queries = [query(f"n{number}.example.com") for number in range(600)]
    got = client.ask_by_tcp(*queries)
    assert {each[:2] for each in got} == {each[:2] for each in queries}
    assert {code(each) for each in got} == {dns.rcode.NOERROR}


@pytest.mark.parametrize("sent", [b"\0\0", b"\0\5abcde", framed(answer(query(), WWW))], ids=len)
def test_by_tcp_whoever_sends_no_question_is_left(client: Client, server: NameServer, sent: bytes) -> None:
    with client.stream() as asking:
        asking.sendall(sent)
        with pytest.raises((EOFError, ConnectionResetError)), asking.makefile("rb") as answers:
            read(answers)
    assert not server.asked


def test_by_tcp_a_server_that_answers_what_nobody_asked_is_left(client: Client, server: NameServer) -> None:
    server.answering = lambda asked, tcp: [answer(asked[:2] + query("other.example.com")[2:])]
    with pytest.raises((EOFError, ConnectionResetError)):
        client.ask_by_tcp(query())


def test_by_tcp_a_server_that_hangs_up_has_failed(client: Client, server: NameServer) -> None:
    def hang_up(asked: bytes, tcp: bool) -> list[bytes]:
        raise ConnectionResetError

    server.answering = hang_up
    assert {code(each) for each in client.ask_by_tcp(query(), query())} == {dns.rcode.SERVFAIL}


def test_one_client_has_only_so_many_connections(client: Client) -> None:
    answered = 0
    with contextlib.ExitStack() as stack:
        for asking in [stack.enter_context(client.stream()) for _ in range(70)]:
            with contextlib.suppress(EOFError, OSError):
                asking.sendall(framed(query("example.net")))
                answered += code(read(stack.enter_context(asking.makefile("rb")))) == dns.rcode.REFUSED
    assert answered == 64
    wait_until(lambda: reachable(client), 2)


def reachable(client: Client) -> bool:
    with contextlib.suppress(EOFError, OSError):
        return bool(client.ask_by_tcp(query()))
    return False
