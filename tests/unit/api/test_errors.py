from http import HTTPStatus

import pytest

from kinety.api.errors import AgentUnreachable, ApiError, refuse
from kinety.api.types import Problem


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (refuse(404, "no such thing"), "no such thing"),
        (refuse(400, "is wrong", file="p.yaml"), "p.yaml: is wrong"),
        (refuse(400, "is wrong", file="p.yaml", line=7), "p.yaml:7: is wrong"),
        (refuse(400, "is wrong", file="p.yaml", line=7, path="spec.x"), "p.yaml:7: spec.x: is wrong"),
        (refuse(400, "is wrong", path="labels"), "labels: is wrong"),
    ],
)
def test_a_refusal_is_one_line_with_its_place(error: ApiError, shown: str) -> None:
    assert str(error) == shown


def test_a_refusal_carries_its_status_and_its_parts() -> None:
    error = refuse(507, "no room", path="addresses")
    assert error.status is HTTPStatus.INSUFFICIENT_STORAGE
    assert error.problem == Problem("no room", None, None, "addresses")


def test_an_agent_that_is_not_there_is_a_connection_error() -> None:
    """The command line tells it from a refusal without importing this module."""
    assert issubclass(AgentUnreachable, ConnectionError)
    assert not issubclass(ApiError, OSError)
