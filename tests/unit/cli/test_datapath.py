"""``kinety datapath inspect``: a table for people, values for programs, one line when it cannot."""

import json
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from kinety.cli.exit_code import REFUSED
from kinety.cli.main import kinety

KINETY = [sys.executable, "-m", "kinety.cli.main", "datapath", "inspect"]


def inspect(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*KINETY, *words], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.needs("root", "bpf", "objects")
def test_the_table_and_the_values_say_the_same() -> None:
    shown, value = inspect(), inspect("--output", "json")
    assert (shown.returncode, shown.stderr, value.returncode) == (0, "", 0)
    found = json.loads(value.stdout)
    head, *lines = shown.stdout.splitlines()
    assert head.split()[:2] == ["CONFIGURATION", "PROGRAM"]
    assert len(lines) == len(found) == 2 * (13 + 6)  # of endpoints, and of the node itself
    for line, each in zip(lines, found, strict=True):
        assert line.startswith(each["configuration"])
        assert f" {each['pruned']} " in line
        assert all(name in line for name in each["maps_dropped"])
    assert found[0]["nanoseconds"].keys() == {"4", "6"}


def test_a_failure_is_the_verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    done = CliRunner().invoke(kinety, ["datapath", "inspect"], standalone_mode=False)
    assert (done.return_value, done.output) == (REFUSED, "")
