"""``kinety datapath reload`` against a real agent: under traffic, refused, and over restarts."""

import signal
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from kinety.datapath.template import packaged_object
from kinety.kernel.program import Program
from kinety.testing.wait import wait_until
from tests.e2e.real_node import EMPIRE_ONLY, SOON, Node, TcpServer, connect, family_of, refused
from tests.e2e.traffic import Datagrams, TcpStream
from tests.versions import another_version, of_contract, refused_version

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip")


def version(node: Node) -> str:
    found = node.json("status")["datapath"]["version"]
    assert isinstance(found, str)
    return found


def programs(node: Node) -> set[int]:
    return {each["id"] for each in node.json("status")["datapath"]["programs"]}


def alive(numbers: set[int]) -> set[int]:
    """Those programs that the kernel still has."""
    found = set()
    for number in numbers:
        with suppress(FileNotFoundError), Program.from_id(number):
            found.add(number)
    return found


@pytest.fixture
def changed(tmp_path: Path) -> str:
    """The path of another version of the object."""
    path = tmp_path / "another.o"
    path.write_bytes(another_version())
    return str(path)


def test_configurations_and_objects_change_under_traffic(running: Node, changed: str) -> None:
    sender = running.workload("sender")
    receiver = running.workload("receiver")
    for number in range(8):
        running.workload(f"bystander{number}")
    with ExitStack() as stack:
        flows, streams = [], []
        for family in ("ipv4", "ipv6"):
            where = running.address("receiver", family)
            flows.append(stack.enter_context(Datagrams(sender, receiver, where, 80)))
            streams.append(stack.enter_context(TcpStream(sender, receiver, where, 81)))
        first, met = version(running), programs(running)
        for words in (
            ["--events", "none"],
            ["--object", changed],
            ["--events", "flows"],
            [],
            ["--object", changed, "--events", "drops"],
            ["--events", "flows"],
            [],
        ):
            found = running.json("datapath", "reload", *words)
            assert (found["changed"], found["endpoints"]) == (True, 10), words
            assert found["version"] == version(running)
            assert {each["id"] for each in found["after"]} == programs(running)
            met |= programs(running)
        assert version(running) == first, "the packaged object and the first configuration"
        for flow in flows:
            assert flow.stop() == list(range(flow.sent))
    assert all(stream.received == stream.sent for stream in streams)
    wait_until(lambda: alive(met) == programs(running), SOON, "the kernel has given former programs back")
    assert "is in force already" in running.kinety("datapath", "reload")


def test_a_family_is_cut_off_and_comes_back(running: Node) -> None:
    running.workload("one")
    other = running.workload("other")
    shown = running.kinety("datapath", "reload", "--no-ipv6")
    assert "IPv6 is dropped; addresses of it: 2 endpoints" in shown
    assert running.json("status")["datapath"]["configuration"]["ipv6"] is False
    ends = {family: running.address("one", family) for family in ("ipv4", "ipv6")}
    for family, ipv6_is_on in (("ipv4", False), ("ipv6", False), ("ipv6", True)):
        if ipv6_is_on:
            running.kinety("datapath", "reload", "--ipv6")
        with TcpServer(running.workloads["one"], 80, family_of(ends[family])):
            if family == "ipv6" and not ipv6_is_on:
                before = running.dropped("ip-version-disabled")
                assert refused(other, ends[family], 80)
                assert running.dropped("ip-version-disabled") > before
            else:
                connect(other, ends[family], 80).close()


def test_events_of_new_flows_stop_and_begin_again(running: Node) -> None:
    one = running.workload("one", "org=empire", "class=deathstar")
    friend, foe = running.workload("friend", "org=empire"), running.workload("foe")
    running.apply(EMPIRE_ONLY)
    where = running.address("one")

    def told() -> list[str]:
        """What is told of two new flows, until a drop."""
        with running.client() as client, TcpServer(one, 80):
            events = client.events({"endpoint": "one"})
            for _ in range(2):
                connect(friend, where, 80).close()
            assert refused(foe, where, 80, 0.1)
            kinds = []
            while not kinds or kinds[-1] != "drop":
                kinds.append(next(events).kind)
            events.close()  # type: ignore[attr-defined]
        return kinds

    # Each end tells of a new flow.
    everything = ["new-flow"] * 4 + ["drop"]
    assert told() == everything
    running.kinety("datapath", "reload", "--events", "drops")
    assert told() == ["drop"]
    running.kinety("datapath", "reload", "--events", "flows")
    assert told() == everything


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_goes_by_its_options_and_keeps_connections(
    running: Node, changed: str, number: int
) -> None:
    sender, receiver = running.workload("sender"), running.workload("receiver")
    first = version(running)
    with TcpStream(sender, receiver, running.address("receiver"), 81) as stream:
        running.kinety("datapath", "reload", "--object", changed, "--no-ipv6")
        assert version(running) != first
        running.end(number)
        running.start()
        assert version(running) == first
        assert len(list(running.pins.glob("contract-*/program-*"))) == 1
        more = stream.received + 10_000
        wait_until(lambda: stream.received > more, SOON, "bytes arrive")
        running.end(number)
        running.start("--no-ipv6", "--events", "drops")
        status: dict[str, Any] = running.json("status")
        assert status["datapath"]["configuration"] == {
            "ipv4": True,
            "ipv6": False,
            "events": "drops",
            "shadow": True,
            "fragments": True,
            "hooks": True,
        }
        assert [pool["prefix"] for pool in status["pools"]] == ["10.240.0.0/16"]
        more = stream.received + 10_000
        wait_until(lambda: stream.received > more, SOON, "bytes arrive")
    running.workload("later")
    assert running.json("endpoint", "get", "later")["ipv6"] is None


def test_what_the_verifier_refuses_is_one_telling_line_and_its_log_on_request(
    running: Node, tmp_path: Path
) -> None:
    running.workload("one")
    path, log = tmp_path / "refused.o", tmp_path / "verifier.log"
    path.write_bytes(refused_version())
    before = programs(running)
    done = running.run("datapath", "reload", "--object", str(path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"kinety: {path}: the kernel refused: load program to_endpoint: ")
    assert "R9 !read_ok" in done.stderr
    again = running.run("datapath", "reload", "--object", str(path), "--verifier-log", str(log))
    assert again.stderr == done.stderr
    assert "R9 !read_ok" in log.read_text()
    assert log.read_text().count("\n") > 2
    assert programs(running) == before
    assert running.json("status")["reconciliation"]["state"] == "in-sync"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (packaged_object()[:7000], ""),
        (b"#!/bin/sh\n", "not a readable ELF object"),
        (of_contract(0x1234), "compiled with contract 0x0000000000001234, this Kinety speaks 0x"),
    ],
    ids=["cut", "foreign", "another contract"],
)
def test_an_object_that_does_not_fit_is_one_line(
    running: Node, tmp_path: Path, content: bytes, complaint: str
) -> None:
    path = tmp_path / "wrong.o"
    path.write_bytes(content)
    before = version(running)
    done = running.run("datapath", "reload", "--object", str(path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"kinety: {path}: ")
    assert complaint in done.stderr
    assert version(running) == before
