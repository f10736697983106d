from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.real_node import Node
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
