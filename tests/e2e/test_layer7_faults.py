"""Proxy or agent are killed under load: what is denied never passes, and the rest comes back."""

import logging
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from kinety.testing.wait import wait_until
from tests.e2e.layer7_node import FREE, NEEDS, REDIRECTS, WEB, Layer7Node, layer7_node
from tests.e2e.real_node import SOON, connect
from tests.e2e.traffic import TcpStream
from tests.layer7.http_client import HttpClient, ask
from tests.layer7.http_server import http_server
from tests.layer7.load import Arrivals, Client, Request, Stage, Tally, load

pytestmark = pytest.mark.needs(*NEEDS)

log = logging.getLogger(__name__)

IN, OUT, BOTH = (Request("GET", f"/{kind}/x") for kind in ("in", "out", "both"))
COUNT = 3000
#: How long a proxy may take to be back on a busy machine; what it takes is logged.
BACK = 10.0


@pytest.fixture(params=REDIRECTS)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Layer7Node]:
    """Every test's own: what is started again in a test must end with it."""
    with layer7_node(tmp_path, request.param) as made:
        yield made


@contextmanager
def under_load(node: Layer7Node) -> Iterator[tuple[Arrivals, Future[Tally]]]:
    """Clients ask a server that is looked at, while bytes pass that nobody looks at."""
    arrivals = Arrivals()
    server = node.home("in-server")
    clients = [
        Client(node.home("free-client"), node.address("in-server", family), WEB, keeps)
        for family in (4, 6)
        for keeps in (True, False)
    ]
    stage = Stage("", frozenset({IN, BOTH}))
    plain = (node.home("free-client"), server, node.address("in-server", 4), FREE)
    with (
        http_server(server, WEB, remember=arrivals.see),
        TcpStream(*plain),
        ThreadPoolExecutor(1) as thread,
    ):
        tally = thread.submit(load, clients, arrivals, (IN, OUT, BOTH), (stage,), lambda _: None, COUNT, 20.0)
        wait_until(lambda: len(arrivals.numbers) > COUNT // 6 or tally.done(), SOON, "the load is on its way")
        yield arrivals, tally
        log.info("%s: %s", node.redirect, tally.result())


def held(tally: Tally) -> bool:
    """Whether policy held, and everybody was served in the end."""
    return (tally.leaked, tally.wronged, tally.sent) == ([], [], COUNT)


def served_again(node: Layer7Node, began: float) -> None:
    """A new connection of everybody's is served and judged as before."""

    def serves() -> bool:
        try:
            with HttpClient(node.home("free-client"), node.address("in-server", 4), WEB, 0.2) as client:
                return client.ask("GET", BOTH.path, {"request-number": "-1"}).status == 200
        except OSError:
            return False

    wait_until(serves, BACK, "new flows are served")
    log.info("%s: served after %.2f s", node.redirect, time.monotonic() - began)


def test_envoy_is_killed(node: Layer7Node) -> None:
    with under_load(node) as (_, tally):
        former = node.proxy("envoy")
        began = time.monotonic()
        os.kill(former["pid"], signal.SIGKILL)
        served_again(node, began)
    assert held(tally.result())
    now = node.proxy("envoy")
    assert (now["problem"], now["starts"]) == (None, former["starts"] + 1)
    assert now["pid"] != former["pid"]


def test_envoy_stands_still_and_nothing_passes(node: Layer7Node) -> None:
    """It is there and does nothing: connections wait, and none of them finds a way around."""
    pid, address = node.pid("envoy"), node.address("in-server", 4)
    with http_server(node.home("in-server"), WEB) as server:
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: stands_still(pid), SOON, "each of its threads has heard of it")
        try:
            with (
                HttpClient(node.home("free-client"), address, WEB, 0.5) as client,
                pytest.raises(TimeoutError),
            ):
                client.ask("GET", BOTH.path)
            assert server.received == []
        finally:
            os.kill(pid, signal.SIGCONT)
        assert ask(node.home("free-client"), address, WEB, "GET", BOTH.path).status == 200


def test_the_agent_is_killed_and_flows_go_on(node: Layer7Node) -> None:
    """Old connections and new ones, judged as before; nobody is reset, then or when it comes back."""
    with under_load(node) as (arrivals, tally):
        pid = node.pid("envoy")
        node.node.end(signal.SIGKILL)
        then = len(arrivals.numbers)
        wait_until(lambda: len(arrivals.numbers) > then + COUNT // 6 or tally.done(), SOON, "flows go on")
        node.start()
        served_again(node, time.monotonic())
    assert held(tally.result())
    assert (tally.result().resets, tally.result().failures) == ({}, {})
    assert node.pid("envoy") == pid


def test_envoy_dies_while_the_agent_is_away(node: Layer7Node) -> None:
    """Nobody brings it back, so nothing passes; the next agent does."""
    address, home = node.address("in-server", 4), node.home("free-client")
    with http_server(node.home("in-server"), WEB) as server:
        pid, port = node.pid("envoy"), node.node.json("proxy", "status")["listeners"][0]["port"]
        node.node.end(signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not listens(node, port), SOON, "it is gone")
        with pytest.raises(TimeoutError):
            HttpClient(home, address, WEB, 0.5).close()
        assert (server.connections, server.received) == (0, [])
        node.start()
        served_again(node, time.monotonic())
        assert ask(home, address, WEB, "GET", OUT.path).status == 403
        assert {each.path for each in server.received} == {BOTH.path}


def stands_still(pid: int) -> bool:
    """Whether every thread of a process is stopped. Source: proc(5)."""
    stats = (each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/stat"))
    return {each.rpartition(")")[2].split()[0] for each in stats} == {"T"}


def listens(node: Layer7Node, port: int) -> bool:
    """Whether a listener of a proxy is there."""
    try:
        connect(node.node.namespace, "127.0.0.1", port).close()
    except ConnectionRefusedError:
        return False
    return True
