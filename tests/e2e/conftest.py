from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.real_node import EMPIRE_ONLY, Node
from tests.e2e.real_node import node as make_node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node without an agent running yet."""
    with make_node(tmp_path) as made:
        yield made


@pytest.fixture
def running(node: Node) -> Node:
    """A node whose agent runs with the default options."""
    node.start()
    return node


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node for tests that leave it as they found it: a deathstar, a tiefighter, an xwing, one policy."""
    with make_node(tmp_path_factory.mktemp("shared")) as made:
        made.start()
        made.workload("deathstar", "org=empire", "class=deathstar")
        made.workload("tiefighter", "org=empire", "class=tiefighter")
        made.workload("xwing", "org=alliance", "class=xwing")
        made.apply(EMPIRE_ONLY)
        yield made
