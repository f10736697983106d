"""Requests that are made to be misread: bytes in, and what reached the server."""

from collections.abc import Iterator

import pytest

from kinety.model.layer7 import HttpRule, Layer7
from tests.feature import ROOT
from tests.netns.envoy_node import HTTP, EnvoyNode, answer, envoy_node
from tests.netns.odd_request import TABLE, Odd, tables
from tests.netns.witness import Witness

RULES = (HttpRule("GET", "/public/.*"), HttpRule("POST", "/public/p"))
PAGE = ROOT / "docs/reference/http-rules.md"
MARK = "<!-- made by tests/netns/odd_request.py -->\n"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnvoyNode]:
    with envoy_node(tmp_path_factory.mktemp("envoy")) as made:
        made.put(Layer7(http=RULES))
        yield made


@pytest.fixture(scope="module")
def witness(node: EnvoyNode) -> Iterator[Witness]:
    with Witness(node.crossing.server, HTTP) as made:
        yield made


@pytest.mark.needs("root", "netns", "nft", "envoy")
@pytest.mark.parametrize("odd", [each for odd in TABLE.values() for each in odd], ids=lambda odd: odd.what)
def test_the_server_gets_what_was_judged(node: EnvoyNode, witness: Witness, odd: Odd) -> None:
    witness.seen.clear()
    with node.crossing.connect(HTTP) as connection:
        connection.sendall(odd.sent)
        statuses = tuple(answer(connection)[0] for _ in odd.statuses)
    assert statuses == odd.statuses
    assert tuple((seen.head, seen.body) for seen in witness.seen) == odd.arrives


def test_the_table_is_the_documents() -> None:
    assert PAGE.read_text().partition(MARK)[2] == tables()
