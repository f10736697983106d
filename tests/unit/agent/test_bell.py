"""Who rings at the door: the plugin's lines of shell, a bell, and what may happen to either."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import kinety
from kinety.agent import bell as agents
from kinety.agent.bell import Bell
from kinety.api.bell import ANSWER, BELL, HEARD, bell, holder
from kinety.cli.launcher import launcher

SHELLS = [each for each in map(shutil.which, ("dash", "bash", "busybox")) if each]
PACKAGES = str(Path(kinety.__file__).resolve().parent.parent)
#: Stands for Python: tells what it was left to do.
STAND_IN = """#!/bin/sh
echo "left ${4:-whole}"
cat
"""


class Visitor:
    """The plugin as an operator has it, for an agent with this socket; each call is a process."""

    def __init__(self, place: Path, shell: str) -> None:
        self.socket = place / "agent.sock"
        self.shell = [shell, "sh"] if Path(shell).name == "busybox" else [shell]
        stand_in = place / "python"
        stand_in.write_text(STAND_IN)
        stand_in.chmod(0o755)
        self.plugin = place / "kinety-cni"
        self.plugin.write_text(launcher(str(stand_in), PACKAGES, self.socket))

    def start(self, command: str = "VERSION", **more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self.shell, str(self.plugin)],
            env={"CNI_COMMAND": command, "PATH": os.environ["PATH"]} | more,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def call(self, configuration: bytes, command: str = "VERSION", **more: str) -> tuple[int, bytes]:
        with self.start(command, **more) as process:
            out, error = process.communicate(configuration, timeout=20)
        assert error == b""
        return process.returncode, out

    def network(self, **more: Any) -> bytes:
        return json.dumps({"cniVersion": "1.0.0", "name": "net", "socket": str(self.socket)} | more).encode()


@pytest.fixture(params=SHELLS, ids=[Path(each).name for each in SHELLS])
def visitor(request: pytest.FixtureRequest, tmp_path: Path) -> Visitor:
    return Visitor(tmp_path, request.param)


def with_bell(visitor: Visitor, visit: Callable[[], Any]) -> Any:
    """What a visit comes to while an agent answers the bell (and nobody its socket)."""

    made = Bell(visitor.socket)
    made.open()
    try:
        return visit()
    finally:
        made.close()


@contextmanager
def ringable(visitor: Visitor) -> Iterator[int]:
    """A FIFO that this process holds, and says so, as an agent does that is about to fail; its descriptor."""
    os.mkfifo(bell(visitor.socket))
    held = os.open(bell(visitor.socket), os.O_RDWR)
    holder(visitor.socket).write_text(f"/proc/{os.getpid()}/fd/{held}\n")
    try:
        yield held
    finally:
        os.close(held)


def test_the_agent_does_the_work_and_python_is_not_started(visitor: Visitor) -> None:
    status, said = with_bell(visitor, lambda: visitor.call(visitor.network()))
    assert status == 0
    assert "1.1.0" in json.loads(said)["supportedVersions"]


def test_an_error_has_its_status_and_its_words(visitor: Visitor) -> None:
    asked = {"CNI_CONTAINERID": "c", "CNI_NETNS": "/n", "CNI_IFNAME": "eth0", "CNI_ARGS": "A=\\n \"'$x"}
    status, said = with_bell(visitor, lambda: visitor.call(visitor.network(), "ADD", **asked))
    assert (status, json.loads(said)["code"]) == (1, 11), "nobody answers the socket in this test"


def test_silence_is_an_answer(visitor: Visitor, tmp_path: Path) -> None:
    asked = {"CNI_CONTAINERID": "c", "CNI_IFNAME": "eth0"}
    network = visitor.network(stateDir=str(tmp_path / "state"))
    assert with_bell(visitor, lambda: visitor.call(network, "DEL", **asked)) == (0, b"")
    assert os.listdir(tmp_path / "state" / "departures") == ["c:eth0"]


@pytest.mark.parametrize("text", ["", "{}", "\n\n{}\n", " \\ {} \\n\\\n\t", ".\n.{}", "$HOME `x` $(x)"])
def test_a_configuration_arrives_as_it_is_at_python(visitor: Visitor, text: str) -> None:
    status, said = visitor.call(text.encode())
    assert status == 0
    assert said.rstrip(b"\n") == f"left whole\n{text}".encode().rstrip(b"\n")


@pytest.mark.parametrize("indent", [None, 2])
def test_a_configuration_arrives_as_it_is_at_the_agent(visitor: Visitor, indent: int | None) -> None:
    content = json.loads(visitor.network(labels={"long": "x" * 100_000, "odd": 'a\\n"c\t\u20ac $x'}))
    network = json.dumps(content, indent=indent, ensure_ascii=False).encode()
    version = with_bell(visitor, lambda: visitor.call(network))
    assert (version[0], json.loads(version[1])["cniVersion"]) == (0, "1.0.0")


def test_what_only_a_process_of_its_own_can_do_is_left_to_python(visitor: Visitor) -> None:
    for more in ({"ipam": {"type": "host-local"}}, {"socket": "/elsewhere"}):
        network = visitor.network(**more)
        status, said = with_bell(visitor, lambda network=network: visitor.call(network))
        assert (status, said.rstrip()) == (0, b"left whole\n" + network)


def test_without_an_agent_python_does_it(visitor: Visitor) -> None:
    assert visitor.call(b"{}")[1].startswith(b"left whole\n{}\n")
    with_bell(visitor, lambda: None)
    assert bell(visitor.socket).is_fifo(), "for the next agent"
    assert visitor.call(b"{}")[1].startswith(b"left whole\n{}\n")


def test_a_number_that_another_process_has_now_is_no_agent(visitor: Visitor) -> None:
    with ringable(visitor):
        read, write = os.pipe()
        for other in (f"/proc/{os.getpid()}/fd/{read}", f"/proc/{os.getpid()}/fd/999", "", "nowhere"):
            holder(visitor.socket).write_text(f"{other}\n")
            assert visitor.call(b"{}")[1].startswith(b"left whole\n{}\n")
        os.close(read)
        os.close(write)


@pytest.mark.parametrize(("said", "left"), [(b"", b"lost"), (b"0\n", b"lost"), (b"-\n\n", b"whole")])
def test_an_agent_that_dies_after_it_heard(visitor: Visitor, said: bytes, left: bytes) -> None:
    with ringable(visitor) as held, visitor.start() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"{}")
        process.stdin.close()
        number = int(os.read(held, 100))
        answer = os.open(f"/proc/{number}/fd/{ANSWER}", os.O_WRONLY)
        os.write(answer, HEARD + said)
        os.close(answer)
        assert process.stdout.read().startswith(b"left " + left + b"\n{}\n")


def test_who_rings_while_agents_change_is_answered_by_the_next(visitor: Visitor) -> None:
    with ringable(visitor), visitor.start() as process:
        assert process.stdin is not None
        process.stdin.write(visitor.network())
        process.stdin.close()
        held = Path(f"/proc/{process.pid}/fd/{BELL}")
        while not held.exists():
            assert process.poll() is None
        os.close(os.open(bell(visitor.socket), os.O_RDWR))

        def said() -> bytes:
            assert process.stdout is not None
            return process.stdout.read()

        assert b"supportedVersions" in with_bell(visitor, said)


#: An agent that hears nothing.
DEAF = """
import sys
from pathlib import Path
from kinety.agent.bell import Bell

Bell._listen = lambda self: None
Bell(Path(sys.argv[1])).open()
print("open", flush=True)
sys.stdin.read()
"""


def test_nobody_waits_for_an_agent_that_died_before_it_heard(visitor: Visitor) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DEAF, visitor.socket], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == b"open\n"
        with visitor.start() as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"{}")
            process.stdin.close()
            held = Path(f"/proc/{process.pid}/fd/{BELL}")
            while not held.exists():
                assert process.poll() is None
            agent.kill()
            assert process.stdout.read().startswith(b"left lost\n{}\n")


def test_the_next_agent_finds_who_was_not_heard(visitor: Visitor) -> None:
    with ringable(visitor) as bell_of_the_dead, visitor.start() as process:
        assert process.stdin is not None
        process.stdin.write(visitor.network())
        process.stdin.close()
        assert int(os.read(bell_of_the_dead, 100)) == process.pid

        def said() -> bytes:
            assert process.stdout is not None
            return process.stdout.read()

        assert b"supportedVersions" in with_bell(visitor, said)


def test_a_stranger_gets_no_answer(
    visitor: Visitor, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Its number was written into the bell, but it does not hold it: the number is another process's now."""
    program = f"exec {ANSWER}<>{tmp_path}/pipe; read -r line <&{ANSWER}"
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["/bin/sh", "-c", program]) as stranger:

        def ring() -> None:
            bell(visitor.socket).write_bytes(f"{stranger.pid}\nno number\n".encode())

        with_bell(visitor, ring)
        assert stranger.poll() is None
        stranger.kill()
    assert f"process {stranger.pid} rang and cannot be answered" in caplog.text


def test_nothing_is_left_when_it_is_removed(visitor: Visitor) -> None:
    with_bell(visitor, lambda: None)
    agents.remove(visitor.socket)
    assert not bell(visitor.socket).exists()
    agents.remove(visitor.socket)


def test_something_else_in_its_place_is_replaced(visitor: Visitor) -> None:
    bell(visitor.socket).write_text("no FIFO")
    assert with_bell(visitor, lambda: visitor.call(visitor.network()))[0] == 0


def test_the_stand_in_stands_for_python(tmp_path: Path) -> None:
    plugin = tmp_path / "kinety-cni"
    plugin.write_text(launcher(sys.executable, PACKAGES, tmp_path / "agent.sock"))
    done = subprocess.run(
        ["/bin/sh", plugin], env={"CNI_COMMAND": "VERSION"}, input=b"{}", capture_output=True, check=True
    )
    assert "1.1.0" in json.loads(done.stdout)["supportedVersions"]
