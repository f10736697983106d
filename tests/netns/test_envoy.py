"""Rules about HTTP in a real Envoy: what passes, what does not, and what either end sees of it."""

import errno
import socket
from collections.abc import Iterator

import pytest

from kinety.model.address import pack_address
from kinety.model.layer7 import HeaderMatch, HttpRule, Layer7, Layer7Id
from kinety.policy.regex import mistake
from kinety.proxy.error import ProxyError
from kinety.proxy.mark import upstream_mark
from kinety.testing.wait import wait_until
from tests.netns.crossing import CLIENT, PATIENCE, SERVER
from tests.netns.envoy_node import HTTP, EnvoyNode, asked, envoy_node, get
from tests.netns.witness import Witness

pytestmark = pytest.mark.needs("root", "netns", "nft", "envoy")

PUBLIC = Layer7(http=(HttpRule("GET", "/public/.*"),))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnvoyNode]:
    with envoy_node(tmp_path_factory.mktemp("envoy")) as made:
        yield made


@pytest.fixture(scope="module")
def witness(node: EnvoyNode) -> Iterator[Witness]:
    with Witness(node.crossing.server, HTTP) as made:
        yield made


@pytest.fixture
def server(witness: Witness) -> Witness:
    witness.seen.clear()
    return witness


@pytest.mark.parametrize("family", [4, 6])
def test_allowed_requests_arrive_from_their_client_and_others_do_not(
    node: EnvoyNode, server: Witness, family: int
) -> None:
    listener = node.put(PUBLIC, "default/public")
    with node.crossing.connect(HTTP, family) as connection:
        assert connection.getpeername()[:2] == (SERVER[family], HTTP)
        status, headers, body = asked(connection, get("/public/a?b=c"))
        assert (status, headers["x-own"], body) == (200, "yes", b"ok")
        status, headers, body = asked(connection, get("/secret"))
        assert (status, body) == (403, b"Access denied by default/public\r\n")
        assert asked(connection, get("/public/a", method="DELETE"))[0] == 403
        assert asked(connection, get("/public/again"))[0] == 200
    assert [seen.target for seen in server.seen] == ["/public/a?b=c", "/public/again"]
    assert {seen.peer[0] for seen in server.seen} == {CLIENT[family]}
    assert all(seen.peer[1] >= 61000 for seen in server.seen)
    assert upstream_mark(listener.port) in node.crossing.marks()


def test_either_end_sees_nothing_of_the_proxy(node: EnvoyNode, server: Witness) -> None:
    node.put(PUBLIC)
    sent = [
        ("Host", "server.example"),
        ("User-Agent", "a/1"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Request-ID", "mine"),
        ("X-Forwarded-Client-Cert", "By=spiffe://a"),
    ]
    request = "".join(f"{name}: {value}\r\n" for name, value in sent)
    with node.crossing.connect(HTTP) as connection:
        _, headers, _ = asked(connection, f"GET /public/ HTTP/1.1\r\n{request}\r\n".encode())
    assert server.seen[0].headers == sent
    # A date is what RFC 9110, 6.6.1, wants of everybody who passes on an answer without one.
    assert headers.keys() == {"x-own", "content-length", "date"}


@pytest.mark.parametrize("value", ["https", "https,http", "nonsense"])
def test_what_a_client_says_of_the_protocol_arrives(node: EnvoyNode, server: Witness, value: str) -> None:
    node.put(Layer7(http=(HttpRule(headers=(HeaderMatch("X-Forwarded-Proto", value),)),)))
    with node.crossing.connect(HTTP) as connection:
        assert asked(connection, get("/", f"X-Forwarded-Proto: {value}"))[0] == 200
        assert asked(connection, get("/", "X-Kinety-Forwarded-Proto: " + value))[0] == 403
    assert [seen.header("X-Forwarded-Proto") for seen in server.seen] == [[value]]
    assert [seen.header("X-Kinety-Forwarded-Proto") for seen in server.seen] == [[]]


def test_other_rules_act_on_the_next_request_of_a_live_connection(node: EnvoyNode, server: Witness) -> None:
    node.put(PUBLIC)
    with node.crossing.connect(HTTP) as connection:
        assert asked(connection, get("/public/a"))[0] == 200
        node.put(Layer7(http=(HttpRule("GET", "/other/.*"),)))
        assert asked(connection, get("/public/a"))[0] == 403
        assert asked(connection, get("/other/a"))[0] == 200
        # Whatever the rules are about.
        node.put(Layer7(http=(HttpRule(headers=(HeaderMatch("X-Key"),)),)))
        assert asked(connection, get("/other/a"))[0] == 403
        assert asked(connection, get("/a%2fb", "X-Key: a"))[0] == 200
        node.put(PUBLIC)
        assert asked(connection, get("/public/../secret"))[0] == 403
        assert asked(connection, get("/public/d"))[0] == 200
        assert asked(connection, get("/public/..%2fsecret"))[0] == 400
    assert [seen.target for seen in server.seen] == ["/public/a", "/other/a", "/a%2fb", "/public/d"]


def test_refused_requests_are_told_and_others_are_not(node: EnvoyNode, server: Witness) -> None:
    node.put(PUBLIC, "default/public")
    with node.crossing.connect(HTTP) as connection:
        assert asked(connection, get("/public/untold"))[0] == 200
        assert asked(connection, get("/told?x", method="PUT"))[0] == 403
        told = wait_until(lambda: [each for each in node.told if each.path == "/told?x"], PATIENCE)[0]
        ends = connection.getsockname(), connection.getpeername()
    assert (told.listener, told.denied, told.method, told.path) == (
        Layer7Id("rules"),
        True,
        "PUT",
        "/told?x",
    )
    assert (told.host, told.status, told.rule) == ("server.example", 403, None)
    assert [(each.address, each.port) for each in (told.client, told.server)] == [
        (pack_address(address), port) for address, port in ends
    ]
    assert 0 < told.latency < PATIENCE
    assert not any(each.path == "/public/untold" for each in node.told)


def test_what_envoy_refuses_changes_nothing(node: EnvoyNode, server: Witness) -> None:
    node.put(PUBLIC)
    with pytest.raises(ProxyError, match=r"Envoy refuses: .*repetition"):
        node.put(Layer7(http=(HttpRule("GET", "(?:[^a]{1000}){100}"),)))
    with node.crossing.connect(HTTP) as connection:
        assert asked(connection, get("/public/a"))[0] == 200
        assert asked(connection, get("/secret"))[0] == 403


@pytest.mark.parametrize(
    "text",
    [
        *("/a.*", "(?i)/b", r"\pL+", r"\pL{1000}", "[[:alpha:]]{1000}", r"/\Qa.b\E", "x{,3}", "/ä."),
        *("(", "a**", "(?=a)", r"(a)\1", "a++", r"\h", r"\Z", r"\pX", "[z-a]", "(a{500}){500}"),
        *("a{1000}" * 31, "a{1000}" * 34, "a{1000}" * 3000),
    ],
)
def test_what_envoy_refuses_of_expressions_is_known_before(node: EnvoyNode, text: str) -> None:
    try:
        node.put(Layer7(http=(HttpRule("GET", text),)))
        refused = False
    except ProxyError:
        refused = True
    assert (mistake(text) is not None) == refused


def test_long_answers_are_given(node: EnvoyNode, server: Witness) -> None:
    node.put(PUBLIC, *(f"{number}{'n' * 252}" for number in range(100)))
    with node.crossing.connect(HTTP) as connection:
        _, _, body = asked(connection, get("/secret"))
    assert body.endswith(b" and 92 more\r\n")


def test_a_removed_listener_listens_no_more(node: EnvoyNode, server: Witness) -> None:
    listener = node.put(PUBLIC)
    with node.crossing.node.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.connect(("127.0.0.1", listener.port))
    node.crossing.run(node.envoy.remove([Layer7Id("rules"), Layer7Id("never there")]))
    with node.crossing.node.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        assert connection.connect_ex(("127.0.0.1", listener.port)) == errno.ECONNREFUSED
    node.put(PUBLIC)
    with node.crossing.connect(HTTP) as connection:
        assert asked(connection, get("/public/a"))[0] == 200


def test_a_server_that_hangs_up_is_asked_again_only_where_it_changes_nothing(
    node: EnvoyNode, server: Witness
) -> None:
    node.put(Layer7(http=(HttpRule(),)), to=8082, name="again")
    with Witness(node.crossing.server, 8082, most=1) as short, node.crossing.connect(8082) as connection:
        assert asked(connection, get("/a"))[0] == 200
        # The connection that Envoy keeps for a second is one that hangs up.
        assert asked(connection, get("/b"))[0] == 200
        assert [seen.target for seen in short.seen] == ["/a", "/b", "/b"]
        assert asked(connection, get("/c", "Content-Length: 0", method="POST"))[0] == 503
        assert [seen.target for seen in short.seen] == ["/a", "/b", "/b", "/c"]


def test_statistics_are_of_each_listener(node: EnvoyNode, server: Witness) -> None:
    node.put(PUBLIC, name="counted", to=8080)
    with Witness(node.crossing.server, 8080), node.crossing.connect(8080) as connection:
        for path in ("/public/a", "/public/b", "/secret"):
            asked(connection, get(path))
        counted = Layer7Id("counted")
        wait_until(lambda: node.status().listeners[counted].p99 is not None, PATIENCE)
        status = node.status()
    found = status.listeners[counted]
    assert (found.requests, found.denied) == (3, 1)
    assert found.p50 is not None
    assert found.p99 is not None
    assert 0 <= found.p50 <= found.p99 < 1000 * PATIENCE
    assert status.version == "1.40.0"
    assert status.problem is None
