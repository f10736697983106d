"""The units of examples/systemd: systemd reads them, and their commands do what they are for.

There is no systemd to start them here; what it would do with them is done by hand: the commands as they
stand, a network namespace for ``PrivateNetwork=``, SIGTERM to the main process for ``KillMode=mixed``.
"""

import pwd
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kinety.testing.wait import wait_until
from tests.e2e.real_node import SOON, START, Node, connect
from tests.feature import ROOT

UNITS = ROOT / "examples/systemd"
KINETY = "/usr/local/bin/kinety"


def command(unit: str, key: str) -> list[str]:
    """The words of a unit's command, without the marks before it."""
    text = (UNITS / unit).read_text().replace("\\\n", " ")
    (line,) = re.findall(rf"^{key}=(.*)$", text, re.M)
    return shlex.split(line.lstrip("-+"))


def of_node(node: Node, words: list[str]) -> list[str]:
    """The same command, of this ``kinety`` and for this node's agent."""
    assert words[0] == KINETY
    return [sys.executable, "-m", "kinety.cli.main", "--socket", str(node.socket), *words[1:]]


def answers(node: Node, name: str) -> bool:
    """Whether an endpoint is there and serves another one, in both families."""
    for each in node.json("endpoint", "list"):
        if each["name"] == name:
            try:
                for family in ("ipv4", "ipv6"):
                    connect(node.workloads["asker"], each[family], 8080, 1.0).close()
            except OSError:
                return False
            return True
    return False


@pytest.fixture
def asked(running: Node) -> Node:
    """A node with an endpoint that asks the services."""
    running.workload("asker")
    return running


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("unit", ["web.service", "attached.service"])
def test_systemd_finds_nothing_wrong(unit: str, tmp_path: Path) -> None:
    (agent,) = re.findall(r"```ini\n(.*?)```", (ROOT / "docs/guide/install.md").read_text(), re.S)
    for name, text in (("kinety.service", agent), (unit, (UNITS / unit).read_text())):
        (tmp_path / name).write_text(text.replace(KINETY, str(Path(sys.executable).parent / "kinety")))
    verify = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, [line for line in done.stderr.splitlines() if str(tmp_path) in line]) == (0, [])


@pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip")
def test_a_service_that_is_run_serves_and_ends_by_one_signal(asked: Node) -> None:
    process = subprocess.Popen(
        of_node(asked, command("web.service", "ExecStart")),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            wait_until(lambda: answers(asked, "web"), START, "the service answers")
            server = Path(asked.json("endpoint", "get", "web")["netns"]).parent.parent
            assert server.stat().st_uid == pwd.getpwnam("www-data").pw_uid
            process.send_signal(signal.SIGTERM)
            assert process.wait(SOON) == -signal.SIGTERM
        finally:
            process.kill()
    assert [each["name"] for each in asked.json("endpoint", "list")] == ["asker"]


@pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip")
def test_a_service_that_is_attached_has_no_network_before_and_policy_after(asked: Node) -> None:
    unit = "attached.service"
    start = ["unshare", "--net", "setpriv", "--reuid=65534", "--clear-groups", "--"]
    process = subprocess.Popen(
        [*start, *command(unit, "ExecStart")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with process:
        try:
            own = Path("/proc", str(process.pid), "ns/net")
            wait_until(lambda: own.readlink() != Path("/proc/self/ns/net").readlink(), SOON)
            words = [
                str(process.pid) if each == "$MAINPID" else each for each in command(unit, "ExecStartPost")
            ]
            subprocess.run(of_node(asked, words), check=True, stdout=subprocess.DEVNULL)
            wait_until(lambda: answers(asked, "attached"), START, "the service answers")
        finally:
            process.kill()
    subprocess.run(of_node(asked, command(unit, "ExecStopPost")), check=False, stderr=subprocess.DEVNULL)
    assert [each["name"] for each in asked.json("endpoint", "list")] == ["asker"]
