"""One node for all tables: a case starts without flows, and undoes what else it changes."""

from collections.abc import Iterator

import pytest

from tests.packet.node import packet_world
from tests.packet.table import World


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """The node of `tests.packet.node`."""
    with packet_world() as made:
        yield made
