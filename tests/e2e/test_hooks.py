"""Filters of the operator through the command line: loaded, told of, kept, refused with reasons."""

import signal
from pathlib import Path

import pytest

from tests.e2e.real_node import Node, TcpServer, connect, family_of
from tests.feature import ROOT
from tests.filters import answer, compiled_filter, filter_object

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip")


@pytest.fixture
def stars(running: Node) -> Node:
    running.workload("deathstar", "org=empire")
    running.workload("tiefighter", "org=empire")
    return running


@pytest.fixture
def no_mail(tmp_path: Path) -> Path:
    path = tmp_path / "no_mail.bpf.o"
    path.write_bytes(compiled_filter(ROOT / "examples/hooks/no_mail.bpf.c"))
    return path


def reaches(node: Node, address: str, port: int) -> bool:
    with TcpServer(node.workloads["deathstar"], port, family_of(address)) as server:
        try:
            with connect(node.workloads["tiefighter"], address, port, 1.0), server.accept():
                return True
        except TimeoutError:
            return False


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_filter_from_load_to_unload(stars: Node, no_mail: Path, family: str) -> None:
    address = stars.address("deathstar", family)
    assert reaches(stars, address, 25)
    [loaded] = stars.json("datapath", "hook", "load", str(no_mail))
    assert (loaded["name"], loaded["slot"], loaded["maps"]) == ("no-mail", 0, [])
    with stars.client() as client:
        events = client.events({"kind": "drop", "port": "25"})
        assert not reaches(stars, address, 25)
        assert reaches(stars, address, 80)
        told = next(events)
        assert (told.hook, told.reason, told.direction) == ("no-mail", "hook-denied", "egress")
        assert told.destination is not None
        assert (told.destination.endpoint, told.destination.port) == ("default/deathstar", 25)
    stars.end(signal.SIGKILL)
    assert not reaches(stars, address, 25), "without an agent"
    stars.start()
    [found] = stars.json("datapath", "hook", "list")
    assert found["filters"][0]["id"] == loaded["filters"][0]["id"]
    assert found["filters"][0]["dropped_packets"] >= 2
    assert not reaches(stars, address, 25)
    assert stars.json("map", "dump", "hooks") == [
        {"slot": 0, "direction": "egress", "program": found["filters"][0]["id"]}
    ]
    stars.kinety("datapath", "hook", "unload", "no-mail")
    assert reaches(stars, address, 25)
    assert stars.json("datapath", "hook", "list") == []


def test_what_is_refused_is_told_with_its_reason(stars: Node, tmp_path: Path) -> None:
    path, log = tmp_path / "marks.o", tmp_path / "verifier.log"
    path.write_bytes(filter_object("KINETY_EGRESS int f(struct __sk_buff *skb) { skb->mark = 1; return 0; }"))
    done = stars.run("datapath", "hook", "load", str(path), "--verifier-log", str(log))
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"kinety: {path}: a filter is refused: verifier: invalid bpf_context access")
    assert "skb->mark = 1" in line
    assert len(log.read_text().splitlines()) > 3
    path.write_text("no object")
    done = stars.run("datapath", "hook", "load", str(path))
    assert (done.returncode, str(path) in done.stderr) == (1, True)
    done = stars.run("datapath", "hook", "load", str(tmp_path / "nothing.o"))
    assert (done.returncode, "No such file" in done.stderr) == (1, True)
    done = stars.run("datapath", "hook", "unload", "marks")
    assert done.stderr == "kinety: there is no hook marks\n"
    assert stars.json("datapath", "hook", "list") == []


def test_an_agent_without_hooks_refuses_them(node: Node, tmp_path: Path) -> None:
    node.start("--no-hooks")
    path = tmp_path / "pass.o"
    path.write_bytes(filter_object(answer(0, "EGRESS")))
    done = node.run("datapath", "hook", "load", str(path))
    assert (done.returncode, "set up without hooks" in done.stderr) == (1, True)


def test_the_header_is_the_one_that_filters_are_compiled_with(node: Node) -> None:
    printed = node.kinety("datapath", "hook", "header")
    assert printed == (ROOT / "bpf/include/kinety_hook.h").read_text()
