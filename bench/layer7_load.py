"""Requests for `bench.layer7`: wrk for a moment, and what it cost.

Client, proxy and server share one core, for the reasons in `bench/load.py`: a rate is the work that a
request is on its whole way, and a difference between two ways is theirs. With one connection there is one
request at a time, so that its time is the way's; with 32, the time is mostly spent in queues. The processor's
time is that of the client's, the proxy's and the server's threads, which do the kernel's work on packets too.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.layer7_node import BODIES, PORT, Way
from bench.load import LoadError, pin, tool
from bench.wire import inside

__all__ = ["CASES", "Case", "Taken", "take"]

#: wrk tells what it found in the last line.
REPORT = """\
function done(summary, latency)
  local failed = summary.errors
  io.write(string.format('\\n{"requests": %d, "microseconds": %d, "failed": %d, "p50": %f, "p99": %f}\\n',
    summary.requests, summary.duration,
    failed.connect + failed.read + failed.write + failed.status + failed.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""
#: Longer than any round lasts; wrk is interrupted.
DURATION = "60s"
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Case:
    """Requests of one kind; ``keeps`` says whether connections stay for the next one."""

    path: str
    connections: int
    keeps: bool

    def __str__(self) -> str:
        size = {1024: "1 KB", 1 << 20: "1 MB"}[BODIES[self.path]]
        kind = "keep-alive" if self.keeps else "short connections"
        plural = "" if self.connections == 1 else "s"
        return f"{kind}, {self.connections} connection{plural}, {size}"


CASES = (
    Case("/1k", 1, keeps=True),
    Case("/1k", 32, keeps=True),
    Case("/1k", 1, keeps=False),
    Case("/1k", 32, keeps=False),
    Case("/1m", 1, keeps=True),
    Case("/1m", 32, keeps=True),
)


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a moment: requests a second, microseconds that they took, and of the processor."""

    requests: int
    rate: float
    p50: float
    p99: float
    cpu: float


def take(case: Case, way: Way, folder: Path, seconds: float) -> Taken:
    """Have a client ask for some time. Raises LoadError when an answer is missing, or another one."""
    script = folder / "report.lua"
    script.write_text(REPORT)
    closing = () if case.keeps else ("--header", "Connection: close")
    wrk = [
        *(tool("wrk"), "--threads", "1", "--connections", str(case.connections), "--duration", DURATION),
        *("--script", str(script), *closing, f"http://{way.wire.address}:{PORT}{case.path}"),
    ]
    before = _children(), _spent(way.processes)
    with subprocess.Popen(
        inside(way.wire.client, *pin(wrk)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as client:
        time.sleep(seconds)
        os.kill(client.pid, signal.SIGINT)
        output = client.communicate(timeout=PATIENCE)[0]
    spent = _children() - before[0] + _spent(way.processes) - before[1]
    try:
        told = json.loads(output.rstrip().rpartition("\n")[2])
    except ValueError as error:
        raise LoadError(f"{case}, {way.name}: wrk says {output.strip()[-400:]}") from error
    if told["failed"] or not told["requests"]:
        raise LoadError(f"{case}, {way.name}: {told['failed']} of {told['requests']} requests failed")
    rate = told["requests"] / told["microseconds"] * 1e6
    return Taken(told["requests"], rate, told["p50"], told["p99"], spent * 1e6 / told["requests"])


def _children() -> float:
    """Seconds of the processor that ended children have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _spent(processes: Iterable[int]) -> float:
    """The same of processes that run. Source: Documentation/scheduler/sched-stats.rst of the kernel."""
    threads = (each for pid in processes for each in Path(f"/proc/{pid}/task").iterdir())
    return sum(int((each / "schedstat").read_text().split()[0]) for each in threads) * 1e-9
