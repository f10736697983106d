"""What is asked of the agent for a command, and what is left of it; the kernel's part is in tests/e2e."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kinety.api.client import Client
from kinety.api.types import EndpointRequest
from kinety.runner.workload import Workload
from tests.served_node import ENDPOINT, ValueNode, served

DEATHSTAR = Workload(EndpointRequest("deathstar"), ("true",))


def released(node: ValueNode, path: Path, pid: int) -> None:
    with served(node, path / "agent.sock") as socket, Client(socket) as agent:
        DEATHSTAR.release(agent, pid)


def test_its_endpoint_goes_with_it(tmp_path: Path) -> None:
    node = ValueNode()
    node.stored = {("default", "deathstar"): replace(ENDPOINT, netns="/proc/4242/ns/net")}
    released(node, tmp_path, 4242)
    assert node.stored == {}


def test_somebody_elses_endpoint_stays(tmp_path: Path) -> None:
    node = ValueNode()
    node.stored = {("default", "deathstar"): replace(ENDPOINT, netns="/proc/4243/ns/net")}
    released(node, tmp_path, 4242)
    assert len(node.stored) == 1


def test_an_endpoint_or_an_agent_that_is_gone_is_not_missed(tmp_path: Path) -> None:
    node = ValueNode()
    node.stored = {}
    released(node, tmp_path, 4242)
    DEATHSTAR.release(Client(tmp_path / "nobody.sock"), 4242)


def test_a_name_that_no_host_can_have() -> None:
    long = EndpointRequest("x" * 65)
    assert Workload(long, ("true",)).endpoint == long
    with pytest.raises(ValueError, match="too long for a host's name, of at most 64"):
        Workload(long, ("true",), hosts=True)


@pytest.mark.needs("root")
def test_without_privileges_it_says_who_may() -> None:
    program = """
import os
from kinety.api.client import Client
from kinety.api.types import EndpointRequest
from kinety.runner.workload import Workload
workload, agent = Workload(EndpointRequest("x"), ("true",)), Client("nowhere")
os.setresuid(65534, 65534, 65534)
try:
    workload.prepare(agent)
except PermissionError as error:
    print(error.strerror)
"""
    printed = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert printed == (
        "only root may make it a network namespace: use sudo, and --user to be somebody else again\n"
    )
