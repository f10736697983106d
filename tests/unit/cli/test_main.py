import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kinety.cli.main import COMMANDS

KINETY = [sys.executable, "-m", "kinety.cli.main"]


def kinety(*words: str, stdin: bytes | None = None) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run([*KINETY, *words], input=stdin, capture_output=True, check=False, timeout=60)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def imported(*words: str) -> set[str]:
    """Modules that a verb imports, without those of an empty interpreter."""
    program = "import sys; from kinety.cli.main import main; sys.argv[0] = 'kinety'\n"
    program += "import atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr))\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
    )
    return set(done.stderr.splitlines()[-1].split())


STAR_WARS = Path(__file__).parents[3] / "examples" / "star-wars"
POLICY, SCENARIO = (str(STAR_WARS / name) for name in ("policy.yaml", "scenario.yaml"))
HEAVY = {"aiohttp", "pydantic", "asyncio", "pyroute2", "sqlite3", "ctypes"}
#: What only a verb that talks to an agent or to the kernel has a use for.
OFFLINE = (HEAVY - {"pydantic"}) | {
    "http.client",
    "ssl",
    "kinety.api.client",
    "kinety.kernel",
    "kinety.datapath",
}


def test_help_imports_no_verb() -> None:
    modules = imported("--help")
    assert "kinety.cli.main" in modules
    assert not {name for name in modules if name.startswith("kinety.") and "kinety.cli" not in name}
    assert not modules & (HEAVY | {"http.client", "json", "yaml", "tabulate"})


@pytest.mark.parametrize(
    ("words", "unused"),
    [
        (("completion", "bash"), HEAVY | {"http.client", "yaml", "kinety.policy", "kinety.api"}),
        (("status", "--socket", "/no"), HEAVY | {"yaml", "kinety.policy", "kinety.model"}),
        (("endpoint", "list", "--socket", "/no"), HEAVY | {"yaml", "kinety.policy", "kinety.model"}),
        (("policy", "list", "--socket", "/no"), HEAVY | {"yaml", "kinety.policy", "kinety.plan"}),
        (("policy", "check", POLICY), OFFLINE | {"kinety.identity", "kinety.plan", "kinety.testing"}),
        (("policy", "check", "/etc/passwd"), OFFLINE | {"kinety.identity", "kinety.plan"}),
        (("test", SCENARIO), OFFLINE | {"kinety.testing.lab", "kinety.testing.live", "subprocess"}),
    ],
)
def test_a_verb_imports_what_it_uses(words: tuple[str, ...], unused: set[str]) -> None:
    assert not imported(*words) & unused


def test_every_verb_exists_and_has_help() -> None:
    for name in COMMANDS:
        if name != "agent":
            done = kinety(name, "--help")
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.startswith(f"Usage: kinety {name}")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("nonsense",), 2, "No such command"),
        (("endpoint", "attach", "--pid", "1"), 2, "Missing option '--name'"),
        (("endpoint", "attach", "--name", "x"), 2, "either --netns or --pid"),
        (("endpoint", "attach", "--name", "x", "--pid", "zero"), 2, "not a valid"),
        (("endpoint", "get", "a/b", "--namespace", "c", "--socket", "/no"), 2, "--namespace says"),
        (("monitor", "--verdict", "maybe"), 2, "maybe"),
        (("status", "--socket", "/no/such/socket"), 3, "no agent answers on /no/such/socket"),
        (("--socket", "/no/such/socket", "status"), 3, "no agent answers on /no/such/socket"),
        (("policy", "check", "/no/such/file"), 1, "/no/such/file: No such file or directory"),
        (("policy", "check", "/"), 1, "/"),
    ],
)
def test_errors_are_one_line_with_their_code(words: tuple[str, ...], code: int, message: str) -> None:
    if words == ("policy", "check", "/"):
        words = ("policy", "check", "/proc/self/fdinfo")
    done = kinety(*words)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("kinety: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_reader_that_goes_away_is_no_error_message() -> None:
    process = subprocess.Popen([*KINETY, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (141, b"")


def test_interrupted_without_a_traceback(tmp_path: Path) -> None:
    fifo = tmp_path / "policy.yaml"
    os.mkfifo(fifo)
    process = subprocess.Popen([*KINETY, "policy", "check", str(fifo)], stderr=subprocess.PIPE)
    # Opening for writing waits until the command has opened it for reading.
    with fifo.open("wb"):
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors
