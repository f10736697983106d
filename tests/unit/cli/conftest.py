from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.served_node import ValueNode, served


@pytest.fixture
def node() -> ValueNode:
    return ValueNode()


@pytest.fixture
def socket_path(node: ValueNode, tmp_path: Path) -> Iterator[Path]:
    with served(node, tmp_path / "agent.sock") as path:
        yield path
