"""Paths made of all that paths are forged from: however a server reads what it gets, it was allowed."""

import os
import random
import re
from collections.abc import Iterator
from itertools import combinations
from urllib.parse import unquote

import pytest

from kinety.model.layer7 import HttpRule, Layer7
from tests.netns.envoy_node import HTTP, EnvoyNode, asked, envoy_node, get
from tests.netns.witness import Witness

pytestmark = pytest.mark.needs("root", "netns", "nft", "envoy")

SEED = int(os.environ.get("KINETY_SEED", "1"))
PATHS = 3000
PIECES = (
    *("/", "/", "//", "/./", "/../", "..", ".", "public", "public", "secret", "a", "?", ";", ";x=1", "\\"),
    *("%2e", "%2E%2e", "%2f", "%2F", "%5c", "%252e", "%252f", "%25", "%c0%ae", "%c0%af", "%00", "%3b", "%3f"),
    *("%70ublic", "%73ecret", "%23", "%0a", "%09", "+", "%u002e", "~", "@", ":", "*", "'", "..;/", "%2e%2e;"),
)


def _without_parameters(path: str) -> str:
    return re.sub(r";[^/]*", "", path)


def _with_slashes(path: str) -> str:
    return path.replace("\\", "/")


def _with_dots(path: str) -> str:
    return path.replace("\xc0\xae", ".").replace("\xc0\xaf", "/")


def _cut(path: str) -> str:
    return path.split("\0", maxsplit=1)[0]


def _unescaped(path: str) -> str:
    return unquote(path, encoding="latin-1")


#: What servers are known to do to a path, in this order, before they look for what it names.
HABITS = (_unescaped, _without_parameters, _unescaped, _with_dots, _with_slashes, _without_parameters, _cut)


def _resolved(path: str) -> str:
    found: list[str] = []
    for part in path.split("/"):
        if part == "..":
            found = found[:-1]
        elif part not in ("", "."):
            found.append(part)
    return "/" + "/".join(found)


def readings(target: str) -> Iterator[str]:
    """What servers may take the path of a target for, by any of their habits."""
    path = target.split("?", maxsplit=1)[0]
    for count in range(len(HABITS) + 1):
        for habits in combinations(HABITS, count):
            read = path
            for habit in habits:
                read = habit(read)
            yield _resolved(read)


def _is_public(path: str) -> bool:
    return path == "/public" or path.startswith("/public/")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnvoyNode]:
    with envoy_node(tmp_path_factory.mktemp("envoy")) as made:
        made.put(Layer7(http=(HttpRule("GET", "/public/.*"),)))
        yield made


def test_however_a_server_reads_it_it_was_allowed(node: EnvoyNode) -> None:
    chance = random.Random(SEED)
    connection = None
    with Witness(node.crossing.server, HTTP) as server:
        for _ in range(PATHS):
            path = chance.choice(("/", "/public/")) + "".join(chance.choices(PIECES, k=chance.randint(1, 7)))
            connection = connection or node.crossing.connect(HTTP)
            status, headers, _ = asked(connection, get(path))
            assert status in (0, 200, 400, 403), path
            if headers.get("connection") == "close" or not status:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()
    arrived = {seen.target for seen in server.seen}
    # Neither everything nor nothing is refused.
    assert 100 < len(arrived) < PATHS / 2
    wrong = {(target, read) for target in arrived for read in readings(target) if not _is_public(read)}
    assert not wrong, f"seed {SEED}"


@pytest.mark.parametrize(
    ("target", "read"),
    [
        ("/public/..%2fsecret", "/secret"),
        ("/public/..;/secret", "/secret"),
        ("/public/%252e%252e/secret", "/secret"),
        ("/public/..\\secret", "/secret"),
        ("/public/%c0%ae%c0%ae/secret", "/secret"),
        ("/public/a?/../secret", "/public/a"),
    ],
)
def test_servers_that_misread_are_among_those_asked(target: str, read: str) -> None:
    assert read in set(readings(target))
