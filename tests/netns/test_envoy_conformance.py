"""What an outside proxy was tested to let through, asked of Envoy with our rules."""

import socket
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address

import pytest

from kinety.model.layer7 import Layer7
from kinety.testing.echo import EchoServers
from tests.netns.crossing import SERVER
from tests.netns.envoy_node import HTTP, TLS, EnvoyNode, envoy_node
from tests.netns.http2 import Http2Witness, http2, request
from tests.netns.proxy_case import Check, checks
from tests.netns.tls_hello import hello

#: Checks that are about content, and that remotes and ports decide.
ABOUT_CONTENT, SETTLED_BEFORE = 42, 218


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnvoyNode]:
    with envoy_node(tmp_path_factory.mktemp("envoy")) as made:
        servers = EchoServers()
        servers.listen(made.crossing.server, ip_address(SERVER[4]), "TCP", TLS)
        answer = [(":status", "200")]
        with servers, closing(Http2Witness(made.crossing.server, HTTP, answer, [])):
            yield made


@pytest.mark.needs("conformance")
def test_remotes_and_ports_are_settled_as_the_cases_say() -> None:
    found = list(checks())
    settled = [each for each in found if isinstance(each.content, bool)]
    assert [each.name for each in settled if each.content != each.allowed] == []
    assert (len(found) - len(settled), len(settled)) == (ABOUT_CONTENT, SETTLED_BEFORE)


@pytest.mark.needs("root", "netns", "nft", "envoy", "conformance")
def test_content_is_judged_as_the_cases_say(node: EnvoyNode) -> None:
    wrong = []
    for check in checks():
        if isinstance(check.content, Layer7) and _passes(node, check) != check.allowed:
            wrong.append(check)
    assert wrong == []


def _passes(node: EnvoyNode, check: Check) -> bool:
    assert isinstance(check.content, Layer7)
    if check.server_name is not None:
        node.put(check.content, to=TLS, name="names")
        said = hello(check.server_name or None)
        with node.crossing.connect(TLS) as connection:
            connection.sendall(said)
            try:
                return connection.recv(len(said), socket.MSG_WAITALL) == said
            except ConnectionResetError:
                return False
    node.put(check.content)
    with http2(node, HTTP) as client:
        headers, _ = client.asked(request(check.path, *check.headers, method=check.method))
    assert headers[":status"] in ("200", "403")
    return headers[":status"] == "200"
