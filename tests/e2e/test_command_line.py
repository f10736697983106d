"""The verbs, as a user types them, against a real agent."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from kinety.testing.wait import wait_until
from tests.e2e.real_node import EMPIRE_ONLY, SOON, Node, TcpServer, connect, family_of, refused

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip")

EXAMPLES = Path(__file__).parents[2] / "examples" / "star-wars"
DENY_XWING = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: no-xwing}
spec:
  endpointSelector: {matchLabels: {class: tiefighter}}
  ingress:
  - fromEntities: [all]
  ingressDeny:
  - fromEndpoints: [{matchLabels: {class: xwing}}]
"""
LISTINGS = [
    ("status",),
    ("endpoint", "list"),
    ("endpoint", "get", "deathstar"),
    ("identity", "list"),
    ("policy", "list"),
    ("map", "list"),
    *(
        ("map", "dump", name)
        for name in ("endpoints", "local_addresses", "rates", "ipcache_hosts", "ipcache_prefixes")
    ),
    *(("map", "dump", name) for name in ("identity_classes", "conntrack", "fragments", "node_state")),
    ("map", "dump", "listeners"),
    *(("map", "dump", name) for name in ("counters", "rule_counters", "lost_events", "rule_sets")),
    *(("map", "dump", name) for name in ("shadow_counters", "lost_shadows", "hooks", "hook_counters")),
    ("datapath", "hook", "list"),
    ("policy", "shadow", "report"),
]
#: Fields that are different whenever one asks.
MOVING = {"memory", "started", "packets", "bytes", "counters", "expires", "last_seen", "time"}


def still(value: Any) -> Any:
    """A value without the fields that move."""
    if isinstance(value, dict):
        return {key: still(item) for key, item in value.items() if key not in MOVING}
    return [still(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("words", LISTINGS, ids=" ".join)
def test_every_listing_has_its_three_forms(shared: Node, words: tuple[str, ...]) -> None:
    with TcpServer(shared.workloads["deathstar"], 80):
        connect(shared.workloads["tiefighter"], shared.address("deathstar"), 80).close()
    as_json = json.loads(shared.kinety(*words, "--output", "json"))

    def agree() -> bool:
        """What the agent does in the background may come between the two."""
        as_yaml = yaml.safe_load(shared.kinety(*words, "--output", "yaml"))
        return bool(still(as_yaml) == still(json.loads(shared.kinety(*words, "--output", "json"))))

    if words[-1] not in ("conntrack", "counters"):
        wait_until(agree, SOON, "both forms say the same")
    lines = shared.kinety(*words).splitlines()
    if isinstance(as_json, list) and as_json:
        assert lines[0].isupper()
        assert len(lines) == 1 + len(as_json)
    assert all(line == line.rstrip() and line.isprintable() for line in lines)


def test_map_dump_takes_every_map_there_is(shared: Node) -> None:
    dumped = {words[2] for words in LISTINGS if words[:2] == ("map", "dump")}
    assert {each["name"] for each in shared.json("map", "list")} == dumped | {
        "events",
        "lookups",
        "shadow_scratch",
    }


@pytest.fixture(scope="module")
def spare(shared: Node) -> str:
    """A network namespace that is not attached."""
    return Path(shared.bare_workload("spare").name).name


@contextmanager
def process_in(netns: str) -> Iterator[int]:
    """A process in a network namespace, while the block runs."""
    command = ["nsenter", f"--net=/run/netns/{netns}", sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        here = os.stat("/proc/self/ns/net").st_ino
        wait_until(lambda: os.stat(f"/proc/{process.pid}/ns/net").st_ino != here, SOON, "it entered")
        yield process.pid
        process.communicate()


@pytest.mark.parametrize("by", ["name", "path", "relative path", "pid"])
def test_attach_by(shared: Node, spare: str, by: str) -> None:
    place = Path("/run/netns") / spare
    with ExitStack() as stack:
        given = {
            "name": ("--netns", spare),
            "path": ("--netns", str(place)),
            "relative path": ("--netns", os.path.relpath(place)),
            "pid": ("--pid", str(stack.enter_context(process_in(spare)))),
        }[by]
        words = ("--name", "prod/spare", "-l", "org=rebels", "-l", "flag", "--namespace-label", "env=prod")
        made = json.loads(shared.kinety("endpoint", "attach", *given, *words, "-o", "json"))
        assert made["labels"] == [
            "k8s:flag",
            "k8s:io.cilium.k8s.namespace.labels.env=prod",
            "k8s:io.kubernetes.pod.namespace=prod",
            "k8s:org=rebels",
        ]
        for family in ("ipv4", "ipv6"):
            with TcpServer(shared.workloads["xwing"], 99, family_of(made[family])):
                connect(shared.workloads["spare"], shared.address("xwing", family), 99).close()
    again = shared.run("endpoint", "attach", *given, "--name", "prod/spare")
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert shared.kinety("endpoint", "detach", "prod/spare") == ""
    gone = shared.run("endpoint", "detach", "prod/spare")
    assert (gone.returncode, gone.stderr) == (1, "kinety: there is no endpoint prod/spare\n")
    assert shared.run("endpoint", "get", "spare", "--namespace", "prod").returncode == 1


def test_addresses_are_given_or_from_the_pool(shared: Node, spare: str) -> None:
    words = ("endpoint", "attach", "--netns", spare, "--name", "spare", "-o", "json")
    made = json.loads(shared.kinety(*words, "--address", "10.240.200.1"))
    assert made["ipv4"] == "10.240.200.1"
    assert made["ipv6"].startswith("fd4b:696e:6574:79::")
    shared.kinety("endpoint", "detach", "spare")
    made = json.loads(shared.kinety(*words, "--address", "192.0.2.7", "--address", "2001:db8::7"))
    assert (made["ipv4"], made["ipv6"]) == ("192.0.2.7", "2001:db8::7")
    shared.kinety("endpoint", "detach", "spare")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--netns", "kinety-no-such"), "/run/netns/kinety-no-such: No such file"),
        (("--netns", "/etc/hostname"), "/etc/hostname is not a namespace"),
        (("--netns", "/proc/self/ns/mnt"), "/proc/self/ns/mnt is a namespace of another kind"),
        (("--pid", "4194304"), "no process 4194304"),
    ],
)
def test_a_namespace_that_is_none(shared: Node, given: tuple[str, ...], message: str) -> None:
    done = shared.run("endpoint", "attach", *given, "--name", "x")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert message in done.stderr


def test_an_endpoint_goes_with_its_namespace(shared: Node) -> None:
    with shared.client() as client:
        before = [pool.used for pool in client.status().pools]
        shared.workload("brief", "class=brief")
        shared.workloads.pop("brief").remove()
        wait_until(lambda: all(item.name != "brief" for item in client.endpoints()), SOON, "it is forgotten")
        assert [pool.used for pool in client.status().pools] == before


def test_policies_from_files_a_directory_and_standard_input(shared: Node, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        EMPIRE_ONLY.replace("rule1", "a1") + "---" + EMPIRE_ONLY.replace("rule1", "a2")
    )
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.json").write_text(json.dumps(yaml.safe_load(EMPIRE_ONLY.replace("rule1", "b"))))
    (tmp_path / "notes.txt").write_text("no policy at all")
    done = shared.kinety("policy", "apply", str(tmp_path), "-", stdin=DENY_XWING.encode())
    assert [line.split()[0].rpartition("/")[2] for line in done.splitlines()[:-1]] == [
        "a1",
        "a2",
        "b",
        "no-xwing",
    ]
    names = [policy["name"] for policy in shared.json("policy", "list")]
    assert names == ["a1", "a2", "b", "no-xwing", "rule1"]
    assert yaml.safe_load(shared.kinety("policy", "get", "a2"))["metadata"]["name"] == "a2"
    assert "a2" not in shared.kinety("policy", "get", "a1")
    shared.kinety("policy", "delete", "a1", "default/a2", "cnp/default/b", "no-xwing")
    assert [policy["name"] for policy in shared.json("policy", "list")] == ["rule1"]


class Monitor:
    """``kinety monitor`` as a process whose lines are read."""

    def __init__(self, node: Node, *words: str) -> None:
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115
        command = [sys.executable, "-m", "kinety.cli.main", "--socket", str(node.socket), "monitor", *words]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=self._output, stderr=pipe, text=True)
        assert self.process.stderr is not None
        self._errors = self.process.stderr
        assert self._errors.readline() == "watching\n"

    def lines(self) -> list[str]:
        """What it has printed so far."""
        self._output.seek(0)
        return self._output.read().splitlines()

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Status and what it said on standard error."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        status = self.process.wait(SOON)
        errors = self._errors.read()
        self._errors.close()
        self._output.close()
        return status, errors


@contextmanager
def monitor(node: Node, *words: str) -> Iterator[Monitor]:
    made = Monitor(node, *words)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.wait()


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_monitor_shows_flows_and_drops_with_the_rule(shared: Node, family: str) -> None:
    shared.apply(DENY_XWING)
    tiefighter, xwing = shared.workloads["tiefighter"], shared.workloads["xwing"]
    address = shared.address("tiefighter", family)
    with monitor(shared, "--endpoint", "tiefighter") as watching:
        with TcpServer(tiefighter, 80, family_of(address)):
            connect(shared.workloads["deathstar"], address, 80).close()
        assert refused(xwing, address, 80, 0.3)
        wait_until(lambda: any(" drop " in line for line in watching.lines()), SOON, "a drop")
        lines = watching.lines()
        assert watching.end() == (130, "\n")
    host = f"[{address}]" if family == "ipv6" else address
    flow = next(line for line in lines if "new-flow" in line and " ingress " in line)
    assert "default/deathstar(" in flow
    assert (
        f"default/tiefighter({shared.json('endpoint', 'get', 'tiefighter')['identity']}) {host}:80 TCP"
        in flow
    )
    assert flow.endswith("[<stdin>:8]")
    drop = next(line for line in lines if " drop " in line)
    assert "default/xwing(" in drop
    assert " ingress deny " in drop
    assert drop.endswith("Denied by policy  [<stdin>:10]")
    shared.kinety("policy", "delete", "no-xwing")


def test_monitor_filters_and_counts(shared: Node) -> None:
    address = shared.address("deathstar")
    words = ("--kind", "drop", "--port", "81", "--verdict", "deny", "--count", "1", "-o", "json")
    with monitor(shared, *words) as watching:
        assert refused(shared.workloads["xwing"], address, 80, 0.3)
        assert refused(shared.workloads["xwing"], address, 81, 0.3)
        line = wait_until(watching.lines, SOON, "a line")[0]
        assert watching.wait() == (0, "")
    event = json.loads(line)
    assert (event["kind"], event["destination"]["port"], event["rule"]["id"]) == ("drop", 81, 0)
    assert event["source"]["labels"] == shared.json("endpoint", "get", "xwing")["labels"]


def test_monitor_says_why_a_default_denied(shared: Node) -> None:
    with monitor(shared, "--kind", "drop", "--protocol", "TCP", "--count", "1") as watching:
        assert refused(shared.workloads["xwing"], shared.address("deathstar"), 80, 0.3)
        line = wait_until(watching.lines, SOON, "a line")[0]
        assert watching.wait() == (0, "")
    assert line.endswith(
        "[default deny by CiliumNetworkPolicy/default/rule1; near <stdin>:8, "
        "peer: it asks for org=empire (it has alliance)]"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--address", "nonsense"), "nonsense"),
        (("--protocol", "XTP"), "XTP"),
        (("--protocol", "300"), "300"),
    ],
)
def test_a_filter_that_makes_no_sense(shared: Node, words: tuple[str, ...], message: str) -> None:
    done = shared.run("monitor", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert message in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_monitor_ends_with_its_agent(running: Node, number: int) -> None:
    with monitor(running) as watching:
        running.end(number)
        assert watching.wait() == (3, "kinety: the agent has stopped, and its events with it\n")


@pytest.mark.needs("ipv6")
def test_a_live_scenario_agrees_with_the_plan_and_leaves_nothing() -> None:
    command = [sys.executable, "-m", "kinety.cli.main", "test", "-o", "json"]
    files = [str(EXAMPLES / name) for name in ("scenario.yaml", "selecting.yaml")]
    process = subprocess.Popen([*command, "--live", *files], stdout=subprocess.PIPE, text=True)
    live, _ = process.communicate(timeout=120)
    planned = subprocess.run([*command, *files], capture_output=True, text=True, check=True).stdout
    assert process.returncode == 0
    assert len(json.loads(live)) == len(json.loads(planned)) > 20
    keys = ("scenario", "from", "to", "port", "protocol", "expect", "outcome", "ok", "egress", "ingress")
    for real, expected in zip(json.loads(live), json.loads(planned), strict=True):
        assert {key: real[key] for key in keys} == {key: expected[key] for key in keys}
    assert not [name for name in os.listdir("/run/netns") if str(process.pid) in name.split("-")]
