"""Rules about headers: those a request must have, and what becomes of those that are not as they should."""

from collections.abc import Iterator

import pytest

from kinety.model.layer7 import HeaderMatch, HttpRule, Layer7, Mismatch
from kinety.proxy.error import ProxyError
from kinety.testing.wait import wait_until
from tests.netns.crossing import PATIENCE
from tests.netns.envoy_node import HTTP, EnvoyNode, asked, envoy_node, get
from tests.netns.witness import Witness

pytestmark = pytest.mark.needs("root", "netns", "nft", "envoy")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnvoyNode]:
    with envoy_node(tmp_path_factory.mktemp("envoy")) as made:
        yield made


@pytest.fixture(scope="module")
def witness(node: EnvoyNode) -> Iterator[Witness]:
    with Witness(node.crossing.server, HTTP) as made:
        yield made


def passed(node: EnvoyNode, witness: Witness, *headers: str) -> list[str] | None:
    """The values of X-Key that arrive of a request with these headers; None when it is refused."""
    witness.seen.clear()
    with node.crossing.connect(HTTP) as connection:
        status, _, _ = asked(connection, get("/", *headers))
    assert (status, len(witness.seen)) in ((200, 1), (403, 0), (400, 0))
    return witness.seen[0].header("X-Key") if witness.seen else None


def of_key(value: str | None, mismatch: Mismatch | None) -> Layer7:
    return Layer7(http=(HttpRule("GET", headers=(HeaderMatch("X-Key", value, mismatch=mismatch),)),))


@pytest.mark.parametrize(
    ("mismatch", "right", "wrong", "two", "none"),
    [
        (None, ["a"], None, None, None),
        (Mismatch.LOG, ["a"], ["b"], ["a", "b"], []),
        (Mismatch.ADD, ["a"], ["b", "a"], ["a", "b", "a"], ["a"]),
        (Mismatch.DELETE, ["a"], [], [], []),
        (Mismatch.REPLACE, ["a"], ["a"], ["a"], ["a"]),
    ],
)
def test_a_header_with_a_value(
    node: EnvoyNode, witness: Witness, mismatch: Mismatch | None, right, wrong, two, none
) -> None:
    node.put(of_key("a", mismatch))
    assert passed(node, witness, "X-Key: a") == right
    assert passed(node, witness, "x-kEy: b") == wrong
    assert passed(node, witness, "X-Key: a", "X-Key: b") == two
    assert passed(node, witness) == none
    # To servers that make a variable of it, it would be the same header.
    assert passed(node, witness, "X_Key: b") is None


@pytest.mark.parametrize(
    ("mismatch", "with_it", "without"),
    [(None, ["b"], None), (Mismatch.LOG, ["b"], []), (Mismatch.DELETE, ["b"], [])],
)
def test_a_header_with_any_value(
    node: EnvoyNode,
    witness: Witness,
    mismatch: Mismatch | None,
    with_it: list[str],
    without: list[str] | None,
) -> None:
    node.put(of_key(None, mismatch))
    assert passed(node, witness, "X-Key: b") == with_it
    assert passed(node, witness) == without


def test_values_are_taken_as_they_are(node: EnvoyNode, witness: Witness) -> None:
    value = '%REQ(host)% 100%% "quoted" .*'
    node.put(of_key(value, Mismatch.REPLACE))
    assert passed(node, witness, "X-Key: b") == [value]
    assert passed(node, witness, f"X-Key: {value}") == [value]


def test_headers_that_may_mismatch_do_so_independently(node: EnvoyNode, witness: Witness) -> None:
    headers = (
        HeaderMatch("X-Key", "a", mismatch=Mismatch.REPLACE),
        HeaderMatch("X-Gone", "c", mismatch=Mismatch.DELETE),
        HeaderMatch("X-Must"),
    )
    node.put(Layer7(http=(HttpRule("GET", headers=headers),)))
    for key in ("X-Key: a", "X-Key: b"):
        for gone, arrives in (("X-Gone: c", ["c"]), ("X-Gone: d", [])):
            assert passed(node, witness, key, gone) is None
            assert passed(node, witness, key, gone, "X-Must: x") == ["a"]
            assert witness.seen[0].header("X-Gone") == arrives


def test_a_rule_that_changes_nothing_comes_first(node: EnvoyNode, witness: Witness) -> None:
    changing = HttpRule("GET", headers=(HeaderMatch("X-Key", "a", mismatch=Mismatch.REPLACE),))
    node.put(Layer7(http=(changing, HttpRule("GET", host="server.*"))))
    assert passed(node, witness, "X-Key: b") == ["b"]


def test_mismatches_are_told_with_their_rule(node: EnvoyNode, witness: Witness) -> None:
    noted = HttpRule("GET", "/noted", headers=(HeaderMatch("X-Key", "a", mismatch=Mismatch.LOG),))
    node.put(Layer7(http=(HttpRule("PUT"), noted)), "default/noted")
    with node.crossing.connect(HTTP) as connection:
        assert asked(connection, get("/noted", "X-Key: a"))[0] == 200
        assert asked(connection, get("/noted", "X-Key: b"))[0] == 200
    told = wait_until(lambda: [each for each in node.told if each.path == "/noted"], PATIENCE)
    assert [(each.denied, each.rule, each.mismatches, each.status) for each in told] == [
        (False, 1, (0,), 200)
    ]


@pytest.mark.parametrize("name", ["Host", "Transfer-Encoding", "content-length", "Connection"])
def test_what_frames_messages_is_not_changed(node: EnvoyNode, name: str) -> None:
    rule = HttpRule("GET", headers=(HeaderMatch(name, "a", mismatch=Mismatch.REPLACE),))
    with pytest.raises(ProxyError, match=f"rules of default/it: the header {name} cannot be changed"):
        node.put(Layer7(http=(rule,)), "default/it")


def test_the_host_is_a_header_too(node: EnvoyNode, witness: Witness) -> None:
    node.put(Layer7(http=(HttpRule(headers=(HeaderMatch("Host", "server.example"),)),)))
    assert passed(node, witness) == []
    node.put(Layer7(http=(HttpRule(headers=(HeaderMatch("Host", "other.example"),)),)))
    assert passed(node, witness) is None
