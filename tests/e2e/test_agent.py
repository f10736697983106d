"""The agent as a process: killed, stopped, started again, refused, cleaned up."""

import signal
import sqlite3
import stat
import subprocess
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from kinety.kernel.netlink import Netlink
from kinety.testing.wait import wait_until
from tests.e2e.real_node import EMPIRE_ONLY, SOON, Node, TcpServer, connect, family_of, refused
from tests.e2e.traffic import Datagrams, TcpStream

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip")

WITH_PORT = (
    EMPIRE_ONLY
    + """    toPorts: [{ports: [{port: "80"}]}]
"""
)
NOBODY = EMPIRE_ONLY.replace("org: empire}}]", "org: nobody}}]")


@pytest.fixture
def stars(running: Node) -> Node:
    """The deathstar, a tiefighter and an xwing, under the empire's policy."""
    running.workload("deathstar", "org=empire", "class=deathstar")
    running.workload("tiefighter", "org=empire", "class=tiefighter")
    running.workload("xwing", "org=alliance", "class=xwing")
    running.apply(EMPIRE_ONLY)
    return running


@pytest.fixture
def ends(stars: Node) -> dict[str, dict[str, str]]:
    """Addresses of the three by name, of each family."""
    return {
        family: {name: stars.address(name, family) for name in stars.workloads} for family in ("ipv4", "ipv6")
    }


Ends = dict[str, dict[str, str]]


def test_a_kill_loses_no_byte_and_lets_nothing_through(stars: Node, ends: Ends) -> None:
    deathstar, tiefighter, xwing = (stars.workloads[name] for name in ("deathstar", "tiefighter", "xwing"))
    before = stars.dropped()
    with ExitStack() as stack:
        enter = stack.enter_context
        streams, allowed, denied = [], [], []
        for addresses in ends.values():
            address = addresses["deathstar"]
            streams.append(enter(TcpStream(tiefighter, deathstar, address, 80)))
            allowed.append(enter(Datagrams(tiefighter, deathstar, address, 80)))
            denied.append(enter(Datagrams(xwing, deathstar, address, 9)))

        def all_go_on() -> None:
            marks = [(stream, stream.received + 20_000) for stream in streams]
            counts = [(flow, flow.sent + 20) for flow in denied]
            wait_until(
                lambda: (
                    all(stream.received > mark for stream, mark in marks)
                    and all(flow.sent > count for flow, count in counts)
                ),
                SOON,
                "bytes arrive",
            )

        for _ in range(2):
            stars.end(signal.SIGKILL)
            all_go_on()
            stars.start()
            all_go_on()
        assert [flow.stop() for flow in denied] == [[], []]
        for flow in allowed:
            assert flow.stop() == list(range(flow.sent))
        refused = sum(flow.sent for flow in denied)
    assert all(stream.received == stream.sent for stream in streams)
    assert stars.dropped() - before == refused
    assert {item["name"] for item in stars.json("endpoint", "list")} == stars.workloads.keys()
    assert stars.json("status")["datapath"]["adopted"]
    assert stars.log.read_text().count("the kernel holds the plan after 0 writes") == 3


def test_a_policy_that_forbids_a_live_connection_stops_it_and_no_other(stars: Node, ends: Ends) -> None:
    deathstar, tiefighter, xwing = (stars.workloads[name] for name in ("deathstar", "tiefighter", "xwing"))
    with ExitStack() as stack:
        enter = stack.enter_context
        live, unrelated = [], []
        for addresses in ends.values():
            live.append(enter(TcpStream(tiefighter, deathstar, addresses["deathstar"], 80)))
            # From the same endpoint, and to it.
            unrelated.append(enter(Datagrams(tiefighter, xwing, addresses["xwing"], 81)))
            unrelated.append(enter(Datagrams(xwing, tiefighter, addresses["tiefighter"], 81)))
        assert stars.apply(NOBODY)["endpoints"] == 1
        stopped = [stream.arrived for stream in live]
        dropped = stars.dropped()
        sent = [flow.sent for flow in unrelated]
        # The connections try again and again, and none of their bytes arrives.
        wait_until(lambda: stars.dropped() >= dropped + 4, SOON, "packets are denied")
        assert [stream.arrived for stream in live] == stopped
        assert all(flow.sent > count for flow, count in zip(unrelated, sent, strict=True))
        assert stars.apply(EMPIRE_ONLY)["endpoints"] == 1
        wait_until(
            lambda: all(stream.arrived > count for stream, count in zip(live, stopped, strict=True)),
            20,
            "the connections go on",
        )
        for flow in unrelated:
            assert flow.stop() == list(range(flow.sent))
    assert all(stream.received == stream.sent for stream in live)


def test_a_policy_that_still_allows_a_live_flow_lets_it_go_on(stars: Node, ends: Ends) -> None:
    """Its rule becomes another one, in another rule set; not one datagram is lost over that."""
    deathstar, tiefighter = stars.workloads["deathstar"], stars.workloads["tiefighter"]
    with ExitStack() as stack:
        enter = stack.enter_context
        streams, flows = [], []
        for addresses in ends.values():
            streams.append(enter(TcpStream(tiefighter, deathstar, addresses["deathstar"], 80)))
            flows.append(enter(Datagrams(tiefighter, deathstar, addresses["deathstar"], 80)))
        before = stars.dropped()
        for text in (WITH_PORT, EMPIRE_ONLY, WITH_PORT):
            assert stars.apply(text)["endpoints"] == 1
            marks = [stream.received + 10_000 for stream in streams]
            wait_until(
                lambda marks=marks: all(s.received > mark for s, mark in zip(streams, marks, strict=True)),
                SOON,
                "bytes arrive",
            )
        for flow in flows:
            assert flow.stop() == list(range(flow.sent))
        assert stars.dropped() == before
    assert all(stream.received == stream.sent for stream in streams)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_leaves_the_datapath_forwarding(stars: Node, ends: Ends, number: int) -> None:
    deathstar, tiefighter = stars.workloads["deathstar"], stars.workloads["tiefighter"]
    with ExitStack() as stack:
        streams = [
            stack.enter_context(TcpStream(tiefighter, deathstar, addresses["deathstar"], 80))
            for addresses in ends.values()
        ]
        assert stars.end(number) == 0
        assert not stars.socket.exists()
        assert stars.run("status").returncode == 3
        marks = [stream.received + 20_000 for stream in streams]
        wait_until(
            lambda: all(s.received > mark for s, mark in zip(streams, marks, strict=True)),
            SOON,
            "bytes arrive",
        )
        for addresses in ends.values():
            with TcpServer(deathstar, 81, family_of(addresses["deathstar"])):
                connect(tiefighter, addresses["deathstar"], 81).close()
                assert refused(stars.workloads["xwing"], addresses["deathstar"], 81)
    assert "Traceback" not in stars.log.read_text()


def test_cleaning_up_leaves_nothing(stars: Node) -> None:
    blocked = subprocess.run(stars.agent("--cleanup"), capture_output=True, text=True, check=False)
    assert blocked.returncode == 1
    assert "another agent" in blocked.stderr
    stars.end()
    assert "kinety" in stars.ruleset()
    for _ in range(2):
        done = subprocess.run(stars.agent("--cleanup"), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
        with Netlink(stars.namespace) as netlink:
            assert [link.name for link in netlink.links()] == ["lo"]
        for workload in stars.workloads.values():
            with Netlink(workload) as netlink:
                assert [link.name for link in netlink.links()] == ["lo"]
        assert stars.ruleset() == ""
        assert not stars.pins.exists()
        assert not stars.state.exists()
        assert not stars.socket.exists()


def test_one_agent_a_state_directory_and_only_root_may_ask(running: Node) -> None:
    assert stat.S_IMODE(running.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(running.state.stat().st_mode) == 0o700
    second = subprocess.run(running.agent(), capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 1
    assert "another agent" in second.stderr
    assert second.stderr.count("\n") == 1


def test_events_say_who_and_which_rule(stars: Node) -> None:
    with stars.client() as client:
        events = client.events({"kind": "drop", "endpoint": "deathstar"})
        assert refused(stars.workloads["xwing"], stars.address("deathstar"), 80, 0.3)
        event = next(each for each in events if each.reason == "policy-denied")
        events.close()  # type: ignore[attr-defined]
    assert event.source is not None
    assert event.source.endpoint == "default/xwing"
    assert (event.verdict, event.reason, event.protocol) == ("deny", "policy-denied", "TCP")


def test_overflow_is_refused_before_anything_is_written(node: Node) -> None:
    node.start("--map-size", "rules=3")
    node.settled()
    before = node.json("status")["datapath"]["writes"]
    many = "\n---".join(EMPIRE_ONLY.replace("rule1", f"rule{number}") for number in range(4))
    done = node.run("policy", "apply", "-", stdin=many.encode())
    assert done.returncode == 1
    assert "map rule" in done.stderr
    assert done.stderr.count("\n") == 1
    assert node.json("policy", "list") == []
    assert node.json("status")["datapath"]["writes"] == before


@pytest.mark.parametrize("damage", ["garbage", "torn", "newer", "directory"])
def test_a_store_that_cannot_be_used_is_one_line_and_traffic_goes_on(stars: Node, damage: str) -> None:
    address = stars.address("deathstar")
    stars.end()
    store = stars.state / "kinety.db"
    if damage == "garbage":
        store.write_bytes(b"no database" * 1000)
    elif damage == "torn":
        content = store.read_bytes()
        store.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    elif damage == "newer":
        with closing(sqlite3.connect(store)) as connection:
            connection.execute("PRAGMA user_version = 99")
    else:
        store.unlink()
        store.mkdir()
    done = subprocess.run(stars.agent(), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert (done.stderr.count("\n"), done.stderr.startswith(f"kinety: store {store}")) == (1, True), (
        done.stderr
    )
    with TcpServer(stars.workloads["deathstar"], 80):
        connect(stars.workloads["tiefighter"], address, 80).close()
        assert refused(stars.workloads["xwing"], address, 80)


def test_a_store_of_ones_own_survives_restarts(node: Node, tmp_path: Path) -> None:
    store = tmp_path / "elsewhere.db"
    for words in (("--store", str(store)), ("--store", f"sqlite:{store}")):
        node.start(*words)
        if not node.workloads:
            node.workload("deathstar", "org=empire", "class=deathstar")
            node.apply(EMPIRE_ONLY)
            before = node.settled()
        else:
            assert node.settled() | {"writes": 0} == before | {"writes": 0}
        assert store.exists()
        node.end()
    assert not (node.state / "kinety.db").exists()
    # What the node's own clean-up does not know of.
    done = subprocess.run(node.agent("--cleanup", "--store", str(store)), capture_output=True, check=False)
    assert done.returncode == 0
    assert not store.exists()


def test_a_map_that_shrank_is_one_line(node: Node) -> None:
    node.start()
    node.workload("deathstar", "org=empire", "class=deathstar")
    node.apply("---".join(EMPIRE_ONLY.replace("rule1", f"r{number}") for number in range(5)))
    node.end()
    done = subprocess.run(
        node.agent("--map-size", "rules=3"), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert done.stderr.splitlines()[-1].startswith("kinety: ")
