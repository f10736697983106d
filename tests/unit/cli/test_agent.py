"""``kinety agent`` becomes the agent's process: its options are the agent's, and its number stays."""

import subprocess
import sys
from pathlib import Path

import pytest

KINETY = [sys.executable, "-m", "kinety.cli.main", "agent"]
#: Loads the agent's module without running it, and says which modules that took.
MODULES = """
import runpy, sys
sys.argv[1:] = ["--help"]
try:
    runpy.run_module("kinety.agent", run_name="__main__", alter_sys=True)
except SystemExit:
    print(*sys.modules, file=sys.stderr)
"""


def agent(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*KINETY, *words], capture_output=True, text=True, check=False, timeout=60)


def test_help_is_the_agents() -> None:
    done = agent("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: kinety agent")
    assert all(option in done.stdout for option in ("--state-dir", "--socket", "--store", "--cleanup"))


def test_help_does_not_load_the_agent() -> None:
    done = subprocess.run([sys.executable, "-c", MODULES], capture_output=True, text=True, check=False)
    loaded = set(done.stderr.split())
    assert "kinety.agent.options" in loaded
    assert not loaded & {"aiohttp", "pydantic", "asyncio", "sqlite3", "ctypes", "kinety.datapath.datapath"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--frob",), "unrecognized arguments: --frob"),
        (("--ipv4-pool", "10.0.0.1/8"), "has host bits set"),
        (("--ipv6-pool", "10.0.0.0/8"), "is no IPv6 prefix"),
        (("--store", "mysql:x"), "store"),
        (("--map-size", "rules=none"), "map-size"),
    ],
)
def test_wrong_options_are_one_line(words: tuple[str, ...], message: str) -> None:
    done = agent(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("kinety: ")


@pytest.mark.needs("root")
@pytest.mark.parametrize("where", ["--state-dir", "--socket"])
def test_a_place_that_cannot_be_used_is_one_line(where: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    options = {"--state-dir": tmp_path / "state", "--socket": tmp_path / "sock", where: file / "below"}
    done = agent(*(str(word) for pair in options.items() for word in pair))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert str(file) in done.stderr
    assert "Errno" not in done.stderr
