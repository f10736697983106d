"""The lab: a node and a world that reach each other, a real agent, and nothing left of any of it."""

import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from kinety.api.types import EndpointRequest
from kinety.kernel.namespace import DIRECTORY, Namespace
from kinety.testing.lab import Lab, lab
from kinety.testing.scenario import ENDPOINT_NETWORKS, HOST_ADDRESSES, WORLD_ADDRESSES
from kinety.testing.wait import wait_until

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "ipv6", "objects")

PORT = 7


def held() -> set[str]:
    """What carries this process's number or lies in its temporary directory."""
    mine = (f"kinety-{os.getpid()}-", tempfile.gettempdir())
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    names = os.listdir(DIRECTORY) if DIRECTORY.is_dir() else []
    return {
        *(name for name in names if str(os.getpid()) in name.split("-")),
        *map(str, Path(tempfile.gettempdir()).glob("kinety-*")),
        *(line for line in mounts if any(each in line for each in mine)),
    }


#: What was there before the test: nodes that other tests share.
OTHERS: set[str] = set()


@pytest.fixture(autouse=True)
def others() -> Iterator[None]:
    OTHERS.update(held())
    yield
    OTHERS.clear()


def left() -> set[str]:
    """What the test leaves behind."""
    return held() - OTHERS


def reaches(source: Namespace, destination: Namespace, address: str) -> bool:
    """Whether a datagram from one namespace arrives in the other at an address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        destination.socket(family, socket.SOCK_DGRAM) as server,
        source.socket(family, socket.SOCK_DGRAM) as client,
    ):
        server.bind((address, PORT))
        server.settimeout(5)
        client.sendto(b"here", (address, PORT))
        return server.recv(16) == b"here"


@pytest.mark.parametrize("version", [4, 6])
def test_node_and_world_reach_each_other(version: int) -> None:
    with lab() as built:
        further = ip_address("203.0.113.9" if version == 4 else "2001:db8:9::9")
        built.add_to_world([further])
        assert reaches(built.node, built.world, str(WORLD_ADDRESSES[version]))
        assert reaches(built.node, built.world, str(further))
        assert reaches(built.world, built.node, str(HOST_ADDRESSES[version]))
    assert left() == set()


def test_an_agent_serves_endpoints_that_the_world_reaches() -> None:
    with lab() as built:
        assert 0 < built.start_agent() < 30
        address = ENDPOINT_NETWORKS[4] + 10
        endpoint = built.namespace("e1")
        with built.client() as client:
            client.attach(EndpointRequest(name="e1", netns=endpoint.name, addresses=(str(address),)))
        built.route_from_world([address])
        assert reaches(built.world, endpoint, str(address))
        built.stop_agent()
        assert reaches(built.world, endpoint, str(address)), "the datapath goes on"
        assert built.start_agent() > 0
        with built.client() as client:
            assert [each.name for each in client.endpoints()] == ["e1"]
    assert left() == set()


def test_an_agent_that_cannot_start_says_why_and_leaves_nothing() -> None:
    with (
        lab() as built,
        pytest.raises(ChildProcessError, match=r"the agent did not start: .*--no-such-option"),
    ):
        built.start_agent("--no-such-option")
    assert left() == set()


def test_an_error_in_the_block_takes_everything_down() -> None:
    def block() -> None:
        with lab() as built:
            built.start_agent()
            raise LookupError("in the block")

    with pytest.raises(LookupError, match="in the block"):
        block()
    assert left() == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_the_block_and_take_everything_down(number: int) -> None:
    def wait_forever(built: Lab) -> None:
        built.start_agent()
        os.kill(os.getpid(), number)
        wait_until(lambda: False, 30, "the signal")

    def block() -> None:
        with lab() as built:
            wait_forever(built)

    with pytest.raises(KeyboardInterrupt):
        block()
    assert left() == set()


def test_two_labs_at_once_do_not_meet() -> None:
    with lab() as one, lab() as other:
        assert one.node.name != other.node.name
        assert one.socket != other.socket
        assert one.start_agent() > 0
        assert other.start_agent() > 0
    assert left() == set()
