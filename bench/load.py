"""Load from packaged tools, measured in slices by the kernel's own counters.

========================  ============================================================================
one request in flight     ``qperf tcp_lat``, one byte each way: transactions a second
a connection per request  ``wrk`` with one connection against ``nginx`` that closes: connections a second
one bulk stream           ``iperf3``, 1 MiB of window: Gbit a second, as received
small datagrams           ``iperf3 --udp --length 16``, as fast as they go: thousand a second that reach
                          the receiver's socket, whether it keeps up or not
========================  ============================================================================

On a virtual machine the speed of the same code moves by 20 % within seconds, because the cores are
somebody else's too. Runs of a second, one wire after the other, drown a difference of 3 % in that. So the
generators of all wires run for the whole measurement, all of them stopped (SIGSTOP) but one, and the turn
goes round every 25 ms: what disturbs one disturbs its neighbours. Rates come from the counters of the
receiving namespace (proc(5), ``/proc/PID/net``), which every wire feeds alike and no generator rounds.

Client and server share one core. Then a rate is the work on the path, not how soon an idle core of a
virtual machine wakes up, nor how often two cores get the packets of one stream into disorder (on bare veth
too: 2 % of segments sent again). The stream's window is fixed and its congestion control plain: with
autotuning a flow settles, by chance and for good, at 8 or at 27 Gbit/s, as its buffers fit the cache or not.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.wire import PORTS, Wire, spawn

__all__ = ["LOADS", "Load", "LoadError", "generators", "in_turns", "measure"]

SLICE, SETTLE = 0.025, 0.003  # seconds: counted, and let go by before counting
CORE = 0
STARVED = 0.1  # of the rounds may be measured again because a generator was not let run
CONGESTION, WINDOW = "reno", "1M"
NICE = "-15"  # others on the machine disturb generators less; all wires alike
STEADY = 500  # counts after which a generator is under way
PATIENCE = 20  # seconds until a generator that does not get there is given up
FOREVER = "3600"
PORT, HTTP_PORT = PORTS[0], PORTS[1]

NGINX = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  keepalive_timeout 0;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{ listen {port} backlog=1024; location / {{ return 200 "ok"; }} }}
}}
"""


class LoadError(Exception):
    """A generator failed; the message carries what it wrote."""


@dataclass(frozen=True, slots=True)
class Load:
    """One question asked of a wire: who receives, who sends, and which counter of the receiver answers."""

    name: str
    unit: str
    server: Callable[[Path], list[str]]
    client: Callable[[Wire], list[str]]
    counter: tuple[str, str, str]  # file below /proc/PID/net, protocol, field
    scale: float = 1.0


def tool(name: str) -> str:
    """Where a program is: on the path, or unpacked below build/ by ``make bench``."""
    unpacked = Path("build/bench/usr/sbin") / name
    found = shutil.which(name) or (str(unpacked.absolute()) if unpacked.exists() else None)
    if found is None:
        raise LoadError(f"{name} is not installed; `make bench` installs what it needs")
    return found


def nginx(folder: Path) -> list[str]:
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=HTTP_PORT))
    return [
        tool("nginx"),
        "-p",
        str(folder),
        "-e",
        str(folder / "error.log"),
        "-c",
        str(folder / "nginx.conf"),
    ]


def iperf_client(wire: Wire, *options: str) -> list[str]:
    command = [tool("iperf3"), "--client", wire.address, "--port", str(PORT), "--time", FOREVER]
    return [*command, "--interval", "0", *options]


LOADS = (
    Load(
        "request/response",
        "transactions/s",
        lambda _: [tool("qperf"), "--listen_port", str(PORT)],
        lambda wire: [
            *(tool("qperf"), "--listen_port", str(PORT), "--ip_port", str(PORT + 5), "--time", FOREVER),
            *(wire.address, "tcp_lat"),
        ],
        counter=("snmp", "Tcp", "InSegs"),
    ),
    Load(
        "connect/request/response",
        "connections/s",
        nginx,
        lambda wire: [
            *(tool("wrk"), "--threads", "1", "--connections", "1", "--duration", f"{FOREVER}s"),
            f"http://{wire.address}:{HTTP_PORT}/",
        ],
        counter=("snmp", "Tcp", "PassiveOpens"),
    ),
    Load(
        "bulk stream",
        "Gbit/s",
        lambda _: [tool("iperf3"), "--server", "--port", str(PORT)],
        lambda wire: iperf_client(wire, "--congestion", CONGESTION, "--window", WINDOW),
        counter=("netstat", "IpExt", "InOctets"),
        scale=8e-9,
    ),
    Load(
        "small datagrams",
        "1000 packets/s",
        lambda _: [tool("iperf3"), "--server", "--port", str(PORT)],
        lambda wire: iperf_client(wire, "--udp", "--bitrate", "0", "--length", "16"),
        counter=("snmp", "Ip", "InDelivers"),
        scale=1e-3,
    ),
)


def read_counter(pid: int, counter: tuple[str, str, str]) -> int:
    """A network counter of the namespace a process lives in."""
    file, protocol, field = counter
    rows = [line.split() for line in Path(f"/proc/{pid}/net/{file}").read_text().splitlines()]
    names, values = [row for row in rows if row[0] == f"{protocol}:"]
    return int(values[names.index(field)])


@dataclass(frozen=True, slots=True)
class Generator:
    """A load on a wire that can be stopped and let go."""

    load: Load
    wire: Wire
    client: subprocess.Popen[bytes]
    server: subprocess.Popen[bytes]

    def count(self) -> int:
        return read_counter(self.server.pid, self.load.counter)

    def signal(self, number: signal.Signals) -> None:
        if self.client.poll() is not None or self.server.poll() is not None:
            raise LoadError(f"{self.load.name} on {self.wire.name}: the generator ended")
        os.kill(self.client.pid, number)

    def wait_steady(self) -> None:
        start, deadline = self.count(), time.monotonic() + PATIENCE
        while self.count() - start < STEADY:
            self.signal(signal.SIGCONT)
            if time.monotonic() > deadline:
                raise LoadError(f"{self.load.name} on {self.wire.name}: nothing arrives in {PATIENCE} s")
            time.sleep(0.05)

    def rate(self) -> float:
        """Units a second over one slice; the generator is stopped before and after."""
        self.signal(signal.SIGCONT)
        time.sleep(SETTLE)
        counted, started = self.count(), time.perf_counter()
        time.sleep(SLICE)
        counted, took = self.count() - counted, time.perf_counter() - started
        self.signal(signal.SIGSTOP)
        return counted * self.load.scale / took


@contextlib.contextmanager
def generators(load: Load, wires: Sequence[Wire]) -> Iterator[list[Generator]]:
    """The load on every wire, under way and stopped."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        running = []
        for count, wire in enumerate(wires):
            own = folder / str(count)
            own.mkdir()
            server = stack.enter_context(spawn(wire.server, *pin(load.server(own))))
            wait_listening(server.pid, HTTP_PORT if load.server is nginx else PORT)
            client = stack.enter_context(spawn(wire.client, *pin(load.client(wire))))
            generator = Generator(load, wire, client, server)
            generator.wait_steady()
            generator.signal(signal.SIGSTOP)
            running.append(generator)
        yield running


def pin(command: Sequence[str]) -> list[str]:
    return ["nice", "-n", NICE, "taskset", "--cpu-list", str(CORE), *command]


def wait_listening(pid: int, port: int) -> None:
    """Until a TCP port listens in the process's namespace. Raises LoadError after ``PATIENCE`` seconds."""
    deadline = time.monotonic() + PATIENCE
    wanted = f"{port:04X}"
    while time.monotonic() < deadline:
        text = Path(f"/proc/{pid}/net/tcp").read_text() + Path(f"/proc/{pid}/net/tcp6").read_text()
        rows = [line.split() for line in text.splitlines()]
        if any(row[3] == "0A" and row[1].endswith(wanted) for row in rows):
            return
        time.sleep(0.02)
    raise LoadError("the receiving end does not listen")


def measure(load: Load, wires: Sequence[Wire], rounds: int) -> dict[str, list[float]]:
    """By wire, a rate for each round, as `in_turns` takes them."""
    with generators(load, wires) as running:
        return in_turns(load, {each.wire.name: each.rate for each in running}, rounds)


def in_turns(load: Load, rates: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """By name, a rate for each round. Within a round the turns are taken in a random order.

    A round in which a generator got nowhere, because something else had its core, is measured again. Raises
    LoadError when that happens in more than a tenth of the rounds.
    """
    found: dict[str, list[float]] = {name: [] for name in rates}
    done = starved = 0
    while done < rounds:
        taken = {name: rates[name]() for name in random.sample(list(rates), len(rates))}
        if all(taken.values()):
            done += 1
            for name, rate in taken.items():
                found[name].append(rate)
            continue
        starved += 1
        if starved > 1 + STARVED * rounds:
            stuck = ", ".join(name for name, rate in taken.items() if not rate)
            raise LoadError(f"{load.name} stands still again and again, last on {stuck}")
    return found
