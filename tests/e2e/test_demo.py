"""``tools/demo.py`` as a user runs it: what it prints, and that nothing is left, whenever it is stopped.

The demo's temporary directory is inside the test's, the names of its namespaces carry its process
number, and everything it starts inherits its environment: so what it leaves can be told from what
other programs on the machine make at the same time.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kinety.kernel.namespace import DIRECTORY
from kinety.testing.wait import wait_until
from tests.feature import ROOT
from tests.house.page import blocks, pattern, steps

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "ipv6", "objects", "envoy")

END = 60.0


class Demo:
    """A running demo, in a process group of its own, as a shell with job control starts it."""

    def __init__(self, place: Path) -> None:
        self.temporary = place / "tmp"
        self.temporary.mkdir()
        self.output = place / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "tools/demo.py")],
                cwd=place,
                env={**os.environ, "TMPDIR": str(self.temporary)},
                stdout=output,
                stderr=output,
                process_group=0,
            )

    def namespaces(self) -> list[str]:
        names = os.listdir(DIRECTORY) if DIRECTORY.is_dir() else []
        return [name for name in names if str(self.process.pid) in name.split("-")]

    def says(self, text: str) -> bool:
        return text in self.output.read_text()

    def agent_began(self) -> bool:
        return any(self.temporary.glob("kinety-*/agent.log"))

    def pinned(self) -> bool:
        return any(self.temporary.glob("kinety-*/bpf/*"))

    def processes(self) -> list[int]:
        """Processes with the demo's environment, which this test alone gives away, or in its directory."""
        mine = f"TMPDIR={self.temporary}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                working = os.readlink(path.parent / "cwd")
                if mine in path.read_bytes().split(b"\0") or working.startswith(f"{self.temporary}/"):
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found

    def left(self) -> list[str]:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        return [
            *self.namespaces(),
            *(f"process {pid}" for pid in self.processes()),
            *(line for line in mounts if str(self.temporary) in line),
            *map(str, self.temporary.rglob("*")),
        ]


@contextmanager
def demo(place: Path) -> Iterator[Demo]:
    running = Demo(place)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            os.killpg(running.process.pid, signal.SIGKILL)
            running.process.wait()


STAGES: dict[str, Callable[[Demo], object]] = {
    "before anything is made": lambda demo: demo.says("refused"),
    "while namespaces are made": Demo.namespaces,
    "while the agent starts": Demo.agent_began,
    "while programs are loaded": Demo.pinned,
    "while endpoints are attached": lambda demo: len(demo.namespaces()) > 2,
    "while packets fly": lambda demo: demo.says("Real packets"),
    "while the proxy starts": lambda demo: demo.says("looks into HTTP"),
}


def test_demo_tells_the_story_and_leaves_nothing(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        assert running.process.wait(END) == 0, running.output.read_text()
        assert running.left() == []
    told = running.output.read_text()
    assert re.search(r"^refused +examples/star-wars/policy-as-printed.yaml:16: spec.toPorts: ", told, re.M)
    assert re.search(r"^ +256 +\{class=deathstar, org=empire\} +\d+ +deathstar$", told, re.M)
    assert re.search(r"^org: empire +deathstar, tiefighter +256, 257$", told, re.M)
    assert re.search(r"^org: empire, class: deathstar +deathstar +256$", told, re.M)
    assert re.search(r"^conntrack +lru_hash +\d+ +[\d.]+ MiB$", told, re.M)
    assert re.search(r"^to_endpoint +\d{3,} +\d{3,}$", told, re.M)
    allowed = r"^ok +tiefighter +deathstar +TCP/80 +allow +allow +default allow +allow: .*/policy.yaml:12$"
    assert re.search(allowed, told, re.M)
    denied = r"^ok +xwing +deathstar +TCP/80 +deny +deny +default allow +default deny$"
    assert re.search(denied, told, re.M)
    assert "FAIL" not in told
    assert "REMARK" not in told, "the kernel told of every probe"
    refused = (
        r"^ok +tiefighter +deathstar +TCP/80 PUT /v1/exhaust-port +http-403 +http-403 .*policy-l7.yaml:\d+$"
    )
    assert re.search(refused, told, re.M)
    for shown in shown_in_readme():
        assert re.fullmatch(pattern(shown), told.strip()), "README.md shows another story"


def shown_in_readme() -> list[str]:
    """What the README says that the demo prints, part by part."""
    in_readme = [block for block in blocks() if block.file == "README.md" and block.kind == "console"]
    shown = [text for block in in_readme for command, text in steps(block.body) if "make demo" in command]
    assert len(shown) == 2
    return shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", STAGES)
def test_stopped_at_any_stage_it_leaves_nothing(tmp_path: Path, stage: str, number: signal.Signals) -> None:
    with demo(tmp_path) as running:
        wait_until(lambda: STAGES[stage](running) or running.process.poll() is not None, END, stage)
        os.killpg(running.process.pid, number)
        status = running.process.wait(END)
        assert status == 130, running.output.read_text()
        assert running.left() == []
    assert "Traceback" not in running.output.read_text()


def test_impatience_does_not_cut_the_clean_up_short(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        wait_until(lambda: running.says("Real packets") or running.process.poll() is not None, END)

        def still_there() -> bool:
            os.killpg(running.process.pid, signal.SIGINT)
            return running.process.poll() is None

        wait_until(lambda: not still_there(), END, "it ends under a hail of signals")
        assert running.process.wait(END) == 130, running.output.read_text()
        assert running.left() == []


def test_the_reader_of_its_output_may_leave(tmp_path: Path) -> None:
    script = f"{sys.executable} {ROOT / 'tools/demo.py'} | head -n 3; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=END,
        check=False,
    )
    assert (done.returncode, done.stderr) == (141, "")
    assert len(done.stdout.splitlines()) == 3
    assert list(tmp_path.iterdir()) == []
