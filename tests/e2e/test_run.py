"""``kinety run``: a command as an endpoint, from before its first packet until whatever ends it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from kinety.kernel.netlink import Netlink
from kinety.testing.wait import wait_until
from tests.e2e.real_node import EMPIRE_ONLY, SOON, START, Node, TcpServer, connect, refused

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip")

FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
#: Endpoints of the shared node.
STARS = {"deathstar", "tiefighter", "xwing"}
#: A command that says that it has begun, and then waits for its input to end.
WAITING = ("sh", "-c", "echo begun; exec cat")


@pytest.fixture
def empire(running: Node) -> Node:
    """A node with a deathstar that only the empire may reach."""
    running.workload("deathstar", "org=empire", "class=deathstar")
    running.apply(EMPIRE_ONLY)
    return running


def words(node: Node, *rest: str) -> list[str]:
    """The command line of ``kinety run REST…``."""
    return [sys.executable, "-m", "kinety.cli.main", "--socket", str(node.socket), "run", *rest]


@contextmanager
def begun(node: Node, *rest: str) -> Iterator["subprocess.Popen[str]"]:
    """``kinety run REST…``, once its command has written a line."""
    process = subprocess.Popen(
        words(node, *rest), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), process.stderr and process.stderr.read()
            yield process
        finally:
            process.kill()


def names(node: Node) -> set[str]:
    """Endpoints that there are."""
    return {each["name"] for each in node.json("endpoint", "list")}


def wiring(node: Node) -> dict[str, Any]:
    """What endpoints leave on a node, if anything."""
    with Netlink(node.namespace) as netlink:
        links = sorted(link.name for link in netlink.links())
    held = node.settled()
    return {"links": links, "pins": sorted(map(str, node.pins.rglob("*")))} | {
        name: held[name] for name in ("endpoints", "local_addresses", "endpoints listed")
    }


def command_of(node: Node, name: str) -> int:
    """The process that became an endpoint."""
    return int(node.json("endpoint", "get", name)["netns"].split("/")[2])


# Policy


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("org", "arrives"), [("empire", True), ("alliance", False)])
def test_the_first_packet_meets_the_policy(shared: Node, family: str, org: str, arrives: bool) -> None:
    address, dropped = shared.address("deathstar", family), shared.dropped()
    with shared.workloads["deathstar"].socket(FAMILIES[family], socket.SOCK_DGRAM) as receiver:
        receiver.bind((address, 9))
        receiver.setblocking(False)
        for number in range(5):
            send = f"echo {number} >/dev/udp/{address}/9"
            assert shared.run("run", "--label", f"org={org}", "--", "bash", "-c", send).returncode == 0
            if arrives:
                assert receiver.recv(100) == b"%d\n" % number
            else:
                with pytest.raises(BlockingIOError):
                    receiver.recv(100)
    assert shared.dropped() - dropped == (0 if arrives else 5)


@pytest.mark.parametrize("family", FAMILIES)
def test_others_reach_it_as_its_own_policy_says(running: Node, family: str) -> None:
    running.apply(EMPIRE_ONLY)
    tiefighter, xwing = running.workload("tiefighter", "org=empire"), running.workload("xwing", "org=rebels")
    serve = "import socket, sys; s = socket.create_server(('::', 80), family=socket.AF_INET6,"
    serve += " dualstack_ipv6=True); print('begun', flush=True); sys.stdin.read()"
    labels = ("--label", "org=empire", "--label", "class=deathstar")
    with begun(running, "--name", "deathstar", *labels, "--", sys.executable, "-c", serve):
        address = running.address("deathstar", family)
        connect(tiefighter, address, 80).close()
        assert refused(xwing, address, 80)


def test_it_leaves_nothing_on_the_node(running: Node) -> None:
    before = wiring(running)
    running.kinety("run", "--label", "org=empire", "--dns", "10.0.0.53", "--hosts", "--", "true")
    assert wiring(running) == before


def test_twenty_at_once(empire: Node) -> None:
    before = wiring(empire)
    address = empire.address("deathstar")
    with TcpServer(empire.workloads["deathstar"], 80):
        ask = ["bash", "-c", f"exec 3<>/dev/tcp/{address}/80 && ip -brief address show eth0"]
        label = ("--label", "org=empire")
        running = [
            subprocess.Popen(words(empire, *label, "--", *ask), stdout=subprocess.PIPE) for _ in range(20)
        ]
        printed = [process.communicate(timeout=START)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 20
    assert len({line.split()[2] for line in printed}) == 20
    assert wiring(empire) == before


# Its end


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "kill -TERM $$"), -signal.SIGTERM),
        (("sh", "-c", "kill -KILL $$"), -signal.SIGKILL),
        (("no-such-command",), 127),
        (("/etc/hostname",), 126),
    ],
)
def test_it_ends_as_its_command_does(shared: Node, command: tuple[str, ...], status: int) -> None:
    done = shared.run("run", "--", *command)
    assert done.returncode == status
    assert names(shared) == STARS
    assert done.stderr.count("\n") == (1 if status in (126, 127) else 0)


def test_to_a_shell_a_signal_is_128_and_its_number(shared: Node) -> None:
    line = 'python=$0; shift 0; "$python" "$@"; echo $?'
    done = subprocess.run(
        ["sh", "-c", line, *words(shared, "--", "sh", "-c", "kill -TERM $$")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "143\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGQUIT", "SIGRTMIN"])
def test_signals_are_passed_on(shared: Node, name: str) -> None:
    number = int(getattr(signal, name))
    trap = f"import signal, sys, time; signal.signal({number}, lambda n, f: sys.exit(40));"
    trap += "print('begun', flush=True); [time.sleep(1) for _ in range(60)]"
    with begun(shared, "--", sys.executable, "-c", trap) as process:
        process.send_signal(number)
        assert process.wait(SOON) == 40
    assert names(shared) == STARS


def test_killed_it_takes_its_command_and_its_endpoint_with_it(running: Node) -> None:
    before = wiring(running)
    for options in ((), ("--user", "nobody")):
        with begun(running, "--name", "web", *options, "--", *WAITING) as process:
            command = command_of(running, "web")
            process.kill()
            wait_until(lambda pid=command: not Path(f"/proc/{pid}").exists(), SOON)  # type: ignore[misc]
            wait_until(lambda: names(running) == set(), SOON)
    assert wiring(running) == before


def test_many_that_end_at_once_in_different_ways(running: Node) -> None:
    before = wiring(running)
    with ExitStack() as stack:
        processes = [stack.enter_context(begun(running, "--", *WAITING)) for _ in range(9)]
        for number, process in enumerate(processes):
            if number % 3 == 0:
                process.kill()
            elif number % 3 == 1:
                process.terminate()
            else:
                assert process.stdin is not None
                process.stdin.close()
        ends = [process.wait(SOON) for process in processes]
    assert ends == [-signal.SIGKILL, -signal.SIGTERM, 0] * 3
    wait_until(lambda: names(running) == set(), SOON)
    assert wiring(running) == before


def test_what_the_command_leaves_running_has_no_network_any_more(running: Node) -> None:
    leave = "setsid sh -c 'echo $$; exec sleep 60' & read -r line"
    with begun(running, "--", "sh", "-c", leave) as process:
        assert process.stdin is not None
        (endpoint,) = running.json("endpoint", "list")
        tasks = Path(endpoint["netns"]).parent.parent / "task"
        (child,) = (tasks / tasks.parent.name / "children").read_text().split()
        process.stdin.close()
        assert process.wait(SOON) == 1
        try:
            shown = subprocess.check_output(["nsenter", f"--net=/proc/{child}/ns/net", "ip", "-o", "link"])
            assert shown.count(b"\n") == 1  # the loopback
        finally:
            os.kill(int(child), signal.SIGKILL)
    assert names(running) == set()


# The agent's end


def test_an_agent_that_is_away_runs_nothing(node: Node) -> None:
    done = node.run("run", "--", "sh", "-c", "echo ran")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith("kinety: sh was not run: no agent answers on ")
    assert done.stderr.count("\n") == 1


def test_a_name_that_is_taken_stays_whose_it_is(shared: Node) -> None:
    done = shared.run("run", "--name", "deathstar", "--", "sh", "-c", "echo ran")
    assert (done.returncode, done.stdout) == (125, "")
    assert "there is an endpoint default/deathstar already" in done.stderr
    assert names(shared) == STARS


@pytest.mark.parametrize("again", ["before the command ends", "after it"])
def test_an_agent_that_was_killed_meanwhile(empire: Node, again: str) -> None:
    before = wiring(empire)
    address = empire.address("deathstar")
    ask = f"echo begun; read -r line; exec 3<>/dev/tcp/{address}/80"
    with TcpServer(empire.workloads["deathstar"], 80):
        with begun(empire, "--label", "org=empire", "--", "bash", "-c", ask) as process:
            empire.end(signal.SIGKILL)
            if again == "before the command ends":
                empire.start()
            _, errors = process.communicate("\n", timeout=SOON)
            assert (process.returncode, errors) == (0, "")
        if again == "after it":
            empire.start()
            wait_until(lambda: names(empire) == {"deathstar"}, SOON)
    assert {**wiring(empire), "endpoints": None} == {**before, "endpoints": None}


def test_an_agent_that_hangs_is_not_waited_for_long(running: Node) -> None:
    with begun(running, "--name", "web", "--", *WAITING) as process:
        assert running.process is not None
        running.process.send_signal(signal.SIGSTOP)
        try:
            process.communicate("", timeout=SOON)
        finally:
            running.process.send_signal(signal.SIGCONT)
    assert process.returncode == 0
    wait_until(lambda: names(running) == set(), SOON)


# What the command finds


def test_it_is_where_it_was_called(shared: Node, tmp_path: Path) -> None:
    seen = "pwd; echo $STAR; cat; ps -o pgid= -p $$"
    done = subprocess.run(
        words(shared, "--", "sh", "-c", seen),
        cwd=tmp_path,
        env=dict(os.environ, STAR="death", PYTHONPATH=os.pathsep.join(sys.path)),
        input="said\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(tmp_path), "death", "said", str(os.getpgid(0))]


def test_its_interface_and_loopback_are_up(shared: Node) -> None:
    printed = shared.kinety("run", "--mtu", "1400", "--address", "10.240.9.9", "--", "ip", "-o", "address")
    assert "inet 127.0.0.1/8" in printed
    assert "inet 10.240.9.9/32" in printed
    assert "mtu 1400" in shared.kinety("run", "--mtu", "1400", "--", "ip", "link", "show", "eth0")


def test_name_servers_and_hosts_are_its_own(shared: Node) -> None:
    nodes = {path: Path(path).read_text() for path in ("/etc/resolv.conf", "/etc/hosts")}
    name = socket.gethostname()
    own = ("--name", "web", "--dns", "10.0.0.53", "--dns", "fd00::53", "--hosts")
    assert shared.kinety("run", *own, "--", "cat", "/etc/resolv.conf").startswith(
        "nameserver 10.0.0.53\nnameserver fd00::53\n"
    )
    printed = shared.kinety("run", *own, "--", "sh", "-c", "hostname; getent ahosts web; ls /sys").split()
    assert printed[0] == "web"
    assert "10.240.0." in printed[1] or "fd4b:" in printed[1]
    assert {"class", "fs"} <= set(printed)
    assert {path: Path(path).read_text() for path in nodes} == nodes
    assert socket.gethostname() == name
    assert shared.kinety("run", "--", "cat", "/etc/resolv.conf") == nodes["/etc/resolv.conf"]


def test_it_may_be_somebody_else(shared: Node) -> None:
    printed = shared.kinety(
        "run", "--user", "nobody", "--dns", "10.0.0.53", "--", "sh", "-c", "id -un; id -Gn"
    )
    assert printed.split() == ["nobody", "nogroup"]
    printed = shared.kinety("run", "--user", "4242:17", "--", "id", "-u")
    assert printed == "4242\n"
    done = shared.run("run", "--user", "nobody-at-all", "--", "true")
    assert done.returncode == 2
    assert "there is no user 'nobody-at-all'" in done.stderr
