import subprocess
import sys
from pathlib import Path

import click
import pytest

from kinety.api.types import DEFAULT_SOCKET
from kinety.cli.online import split_name

KINETY = [sys.executable, "-m", "kinety.cli.main"]


@pytest.mark.parametrize(
    ("environment", "before", "after", "asked"),
    [
        ({}, (), (), DEFAULT_SOCKET),
        ({"KINETY_SOCKET": "/no/env"}, (), (), "/no/env"),
        ({"KINETY_SOCKET": "/no/env"}, ("--socket", "/no/first"), (), "/no/first"),
        ({"KINETY_SOCKET": "/no/env"}, ("--socket", "/no/first"), ("--socket", "/no/last"), "/no/last"),
    ],
)
def test_which_socket(
    environment: dict[str, str], before: tuple[str, ...], after: tuple[str, ...], asked: str
) -> None:
    if asked == DEFAULT_SOCKET and Path(asked).exists():
        pytest.fail("an agent of the machine's own is running; this test must not talk to it")
    command = [*KINETY, *before, "status", *after]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3
    assert f"no agent answers on {asked}:" in done.stderr


@pytest.mark.parametrize(
    ("name", "namespace", "split"),
    [
        ("x", None, ("default", "x")),
        ("x", "prod", ("prod", "x")),
        ("prod/x", None, ("prod", "x")),
        ("prod/x", "prod", ("prod", "x")),
        ("a/b/c", None, ("a", "b/c")),
        ("/x", None, ("", "x")),
    ],
)
def test_names(name: str, namespace: str | None, split: tuple[str, str]) -> None:
    assert split_name(name, namespace) == split


def test_a_name_that_contradicts_its_option() -> None:
    with pytest.raises(click.UsageError, match="'prod/x' names the namespace 'prod'"):
        split_name("prod/x", "default")
