"""Policy that begins to look into a live connection, looks differently, or looks away."""

import socket
import struct
from collections.abc import Iterator

import pytest

from tests.e2e.layer7_node import FAMILIES, NEEDS, REDIRECTS, WEB, Layer7Node, layer7_node, policy
from tests.layer7.http_client import HttpClient, ask
from tests.layer7.http_server import HttpServer, http_server

pytestmark = pytest.mark.needs(*NEEDS)

EITHER_FAMILY = pytest.mark.parametrize("family", FAMILIES)
#: Who looks, and from whom to whom a connection is then.
ENDS = {
    "ingress": ("free-client", "in-server"),
    "egress": ("out-client", "free-server"),
}
EITHER_END = pytest.mark.parametrize("end", ENDS)


PLAIN, GETS, PUTS = "", "rules: {http: [{method: GET}]}", "rules: {http: [{method: PUT}]}"


@pytest.fixture(scope="module", params=REDIRECTS)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layer7Node]:
    with layer7_node(tmp_path_factory.mktemp("changes"), request.param) as made:
        yield made


@pytest.fixture
def server(node: Layer7Node, end: str) -> Iterator[HttpServer]:
    with http_server(node.home(ENDS[end][1]), WEB) as made:
        yield made


def client(node: Layer7Node, end: str, family: int) -> HttpClient:
    """A new connection between the ends."""
    source, destination = ENDS[end]
    return HttpClient(node.home(source), node.address(destination, family), WEB)


@EITHER_END
@EITHER_FAMILY
def test_a_direct_connection_is_reset_and_comes_back_through_the_proxy(
    node: Layer7Node, server: HttpServer, end: str, family: int
) -> None:
    node.node.apply(policy(end, PLAIN))
    with client(node, end, family) as direct:
        assert direct.ask("PUT", "/before").status == 200
        node.node.apply(policy(end, GETS))
        with pytest.raises(ConnectionError):
            direct.ask("PUT", "/after")
    with client(node, end, family) as looked_at:
        assert looked_at.ask("PUT", "/after").status == 403
        assert looked_at.ask("GET", "/after").status == 200
    assert server.paths() == ["PUT /before", "GET /after"]


@EITHER_END
@EITHER_FAMILY
def test_a_connection_through_the_proxy_is_reset_and_comes_back_directly(
    node: Layer7Node, server: HttpServer, end: str, family: int
) -> None:
    node.node.apply(policy(end, GETS))
    with client(node, end, family) as looked_at:
        assert looked_at.ask("GET", "/before").status == 200
        assert looked_at.ask("PUT", "/before").status == 403
        node.node.apply(policy(end, PLAIN))
        with pytest.raises(ConnectionError):
            looked_at.ask("GET", "/between")
    with client(node, end, family) as direct:
        port = direct.stream.getsockname()[1]
        assert direct.ask("PUT", "/after").status == 200
    assert server.paths() == ["GET /before", "PUT /after"]
    assert server.received[-1].port == port, "nobody is between"


@EITHER_END
@EITHER_FAMILY
def test_other_rules_hold_from_the_next_request_on(
    node: Layer7Node, server: HttpServer, end: str, family: int
) -> None:
    """Of a connection that stays."""
    node.node.apply(policy(end, GETS))
    with client(node, end, family) as looked_at:
        for allowed, forbidden, rules in (("GET", "PUT", PUTS), ("PUT", "GET", GETS), ("GET", "PUT", PUTS)):
            assert looked_at.ask(allowed, "/x").status == 200
            assert looked_at.ask(forbidden, "/x").status == 403
            node.node.apply(policy(end, rules))
        assert looked_at.ask("PUT", "/x").status == 200
    assert server.paths() == ["GET /x", "PUT /x", "GET /x", "PUT /x"]


@EITHER_END
def test_a_policy_that_denies_ends_what_the_proxy_let_through(
    node: Layer7Node, server: HttpServer, end: str
) -> None:
    """By silence, as for any denied flow: the connection to the proxy is denied like one to the server."""
    node.node.apply(policy(end, GETS))
    with client(node, end, 4) as looked_at:
        assert looked_at.ask("GET", "/before").status == 200
        node.node.apply(policy(end, GETS).replace('"80"', '"81"'))
        looked_at.stream.settimeout(0.5)
        with pytest.raises(OSError):  # noqa: PT011 - silence or an end, and no answer
            looked_at.ask("GET", "/denied")
        # What was not acknowledged is not sent again, when it may be.
        looked_at.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
    node.node.apply(policy(end, GETS))
    with client(node, end, 4) as again:
        assert again.ask("GET", "/after").status == 200
    assert server.paths() == ["GET /before", "GET /after"]


@EITHER_END
def test_a_policy_that_cannot_be_served_is_refused_and_the_former_stays(
    node: Layer7Node, server: HttpServer, end: str
) -> None:
    """The proxy's engine has no room for these repetitions, as is known before it is told."""
    node.node.apply(policy(end, GETS))
    text = policy(end, 'rules: {http: [{path: "((a{1,100}){1,100}){1,100}"}]}')
    done = node.node.run("policy", "apply", "-", stdin=text.encode())
    assert done.returncode != 0
    assert "path: '((a{1,100}){1,100}){1,100}' is no expression" in done.stderr
    source, destination = ENDS[end]
    assert ask(node.home(source), node.address(destination, 4), WEB, "PUT", "/x").status == 403
    assert ask(node.home(source), node.address(destination, 4), WEB, "GET", "/x").status == 200
    assert server.paths() == ["GET /x"]
