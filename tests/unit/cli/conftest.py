from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kinety.cli.main import kinety
from tests.served_node import ValueNode, served


@pytest.fixture
def node() -> ValueNode:
    return ValueNode()


@pytest.fixture
def socket_path(node: ValueNode, tmp_path: Path) -> Iterator[Path]:
    with served(node, tmp_path / "agent.sock") as path:
        yield path


@pytest.fixture
def run(socket_path: Path) -> Callable[..., Result]:
    """A verb of the command line, run against the node of values."""

    def verb(*words: str, stdin: str | None = None) -> Result:
        command = ["--socket", str(socket_path), *words]
        return CliRunner().invoke(kinety, command, input=stdin, catch_exceptions=False)

    return verb
