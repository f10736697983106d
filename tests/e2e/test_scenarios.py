"""``kinety test`` as a user runs it: the examples, a failing probe, directories, and Ctrl-C under packets."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kinety.cli import main
from kinety.kernel.namespace import DIRECTORY
from kinety.testing.wait import wait_until
from tests.feature import ENVOY, ROOT

KINETY = [sys.executable, "-m", "kinety.cli.main", "test"]
LIVE = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "ipv6", "objects", "envoy")
SHOP = ROOT / "examples/shop"
END = 120.0


def kinety(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*KINETY, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=END,
        cwd=ROOT,
        env={**os.environ, "PATH": f"{ENVOY.parent}:{os.environ['PATH']}"},
    )


@LIVE
def test_examples_give_the_same_offline_and_live() -> None:
    offline, live = kinety("examples"), kinety("--live", "examples")
    assert (offline.returncode, offline.stderr) == (0, "")
    assert (live.returncode, live.stderr) == (0, "")
    assert live.stdout == offline.stdout
    assert {"star-wars", "org-empire", "shop", "guestbook", "depot", "names"} <= {
        line.split()[1] for line in live.stdout.splitlines()[1:]
    }


@LIVE
def test_a_probe_that_fails_says_where_in_which_family_and_who_let_it_through(tmp_path: Path) -> None:
    text = (SHOP / "scenario.yaml").read_text()
    wrong = "{from: shop/web, to: shop/orders, port: 9000, expect: deny}"
    text = text.replace(wrong.replace("deny", "allow"), wrong)
    (tmp_path / "policy.yaml").write_text((SHOP / "policy.yaml").read_text())
    (tmp_path / "scenario.yaml").write_text(text)
    done = kinety("--live", tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    (failed,) = (line for line in done.stdout.splitlines() if line.startswith("FAIL"))
    line = 1 + text[: text.index(wrong)].count("\n")
    assert re.search(rf"deny +allow +allow: \S+:10 +allow: \S+:18 +\S+:{line} over IPv4$", failed)


@LIVE
def test_json_of_a_live_run_is_the_plans() -> None:
    offline, live = (json.loads(kinety(*more, "--output", "json", SHOP).stdout) for more in ((), ("--live",)))
    assert live == offline
    assert all(probe["ok"] for probe in live)
    assert {probe["outcome"] for probe in live} == {"allow", "deny"}


def test_live_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = CliRunner().invoke(main.kinety, ["test", "--live", str(SHOP)])
    assert isinstance(done.exception, PermissionError)
    assert str(done.exception) == "--live makes namespaces and loads programs: run it as root"


def test_a_directory_of_policies_alone_is_no_test(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text((SHOP / "policy.yaml").read_text())
    done = kinety(tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        f"kinety: {tmp_path}: there is no scenario in this directory\n",
    )
    done = kinety(tmp_path / "policy.yaml")
    assert done.returncode == 1
    assert "kind is not Scenario" in done.stderr


@LIVE
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_under_packets_it_ends_with_130_and_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [*KINETY, "--live", SHOP],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    ) as process:

        def attached() -> bool:
            names = os.listdir(DIRECTORY) if DIRECTORY.is_dir() else []
            return sum(str(process.pid) in name.split("-") for name in names) == 6

        wait_until(lambda: attached() or process.poll() is not None, END, "four endpoints, node and world")
        os.killpg(process.pid, number)
        output, errors = process.communicate(timeout=END)
        assert (process.returncode, output, errors.strip()) == (130, b"", b"")
        assert not attached()
    names = os.listdir(DIRECTORY) if DIRECTORY.is_dir() else []
    assert [name for name in names if str(process.pid) in name.split("-")] == []
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
