"""The composition root's own decisions; the whole of it runs in tests/e2e."""

import asyncio
import selectors
import socket
from collections.abc import Callable, Collection
from ipaddress import ip_network
from pathlib import Path
from typing import cast
from unittest.mock import patch

import pytest

from kinety.abi import EventLevel
from kinety.agent import supervisor
from kinety.agent.garbage import Garbage
from kinety.agent.options import OWN_BPFFS, SYSTEM_BPFFS, parse
from kinety.agent.worker import Worker
from kinety.kernel import bpffs
from kinety.kernel.monitor import Happening, NetworkMonitor
from kinety.model.address import Prefix
from kinety.model.rule import PolicyKey
from kinety.testing.wait import wait_until
from tests.unit.agent.conftest import Agent, files
from tests.unit.agent.proxies.test_proxies import CONTENT


def test_the_datapath_gets_what_the_operator_decided() -> None:
    words = "--bpffs /pins --ipv4-pool 10.9.0.0/16 --ipv6-pool none --attach-mode clsact --mtu 1400"
    settings = supervisor.settings_of(parse([*words.split(), "--no-masquerade", "--events", "drops"]))
    assert settings.pins == Path("/pins")
    assert settings.pools == (Prefix.parse("10.9.0.0/16"),)
    assert (settings.clsact_only, settings.mtu, settings.masquerade, settings.event_level) == (
        True,
        1400,
        False,
        EventLevel.DROPS,
    )
    assert (settings.shadow, settings.fragments) == (True, True)


@pytest.mark.parametrize(
    ("words", "level"),
    [
        ("", EventLevel.FLOWS),
        ("--events drops", EventLevel.DROPS),
        ("--events none", EventLevel.NONE),
    ],
)
def test_options_say_what_is_told_of(words: str, level: EventLevel) -> None:
    assert supervisor.settings_of(parse(words.split())).event_level is level


def test_options_say_what_the_node_does_without() -> None:
    words = "--no-shadow --no-fragments --no-hooks --no-bandwidth --no-ipv6"
    settings = supervisor.settings_of(parse(words.split()))
    without = settings.shadow, settings.fragments, settings.hooks, settings.bandwidth, settings.ipv6
    assert (*without, settings.ipv4) == (False, False, False, False, False, True)


@pytest.mark.parametrize(("mounted", "pins"), [(True, SYSTEM_BPFFS / "kinety"), (False, OWN_BPFFS)])
def test_pins_go_where_there_is_a_file_system(
    mounted: bool, pins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bpffs, "mounted", lambda path: mounted and path == SYSTEM_BPFFS)
    assert supervisor.settings_of(parse([])).pins == pins


@pytest.mark.parametrize(
    ("words", "network", "warns"),
    [
        ("", "10.240.3.0/24", True),
        ("", "10.0.0.0/8", True),
        ("", "10.241.0.0/16", False),
        ("", "10.240.3.1/32", False),
        ("", "fd4b:696e:6574:79::/64", True),
        ("--no-ipv6", "fd4b:696e:6574:79::/64", False),
        ("--pool-reserve 10.240.3.0/24", "10.240.3.0/24", False),
        ("--pool-reserve 10.240.3.0/25", "10.240.3.0/24", True),
        ("--pool-reserve fd01::/64", "10.240.3.0/24", True),
    ],
)
def test_pools_among_neighbours_are_told_of(
    words: str, network: str, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A single address of the node's is passed over, so it is no trouble."""
    supervisor._warn_of_neighbours(parse(words.split()), [ip_network(network)])
    assert (f"overlaps {network}, a network of this node" in caplog.text) == warns


def test_what_the_kernel_refused_is_tried_again_when_it_is_due(
    busy: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_SETTLE", 0.01)
    repair, kernel = busy.control.repair, busy.datapath
    kernel.failing = "restore"
    repair.after(OSError(12, "no memory"))
    assert repair.pending

    async def run() -> None:
        worker = Worker()
        task = asyncio.create_task(supervisor._repair(busy.control, worker))
        try:
            asked = busy.clock.asked
            await asyncio.to_thread(
                wait_until, lambda: busy.clock.asked > asked + 5, 10, "it looks at the time"
            )
            assert (repair.pending, repair.attempts) == (True, 1), "it was not due"
            busy.clock.now += repair.wait
            await asyncio.to_thread(wait_until, lambda: not repair.pending, 10, "it is mended")
        finally:
            task.cancel()
            worker.close()

    asyncio.run(run())
    assert busy.agrees()


def test_a_proxy_that_ends_nothing_holds_up_no_request(busy: Agent) -> None:
    asked = asyncio.Event()

    async def hang(ports: Collection[int]) -> None:
        asked.set()
        await asyncio.Event().wait()

    busy.control.apply(files("one", text=CONTENT.replace("PORT", "80")))
    busy.control.delete_policy(PolicyKey("CiliumNetworkPolicy", "default", "one"))

    async def run() -> None:
        worker = Worker()
        with patch.object(supervisor, "_COLLECT_INTERVAL", 0.0), patch.object(busy.proxy, "remove", hang):
            task = asyncio.create_task(supervisor._collect(busy.control, worker))
            await asyncio.wait_for(asked.wait(), 10)
            assert await asyncio.wait_for(worker.run(lambda: busy.control.steps), 10) == busy.control.steps
            assert not task.done()
            task.cancel()
        worker.close()

    asyncio.run(run())
    assert busy.proxy.held.keys() == {10000}


def test_background_work_rests_while_the_kernel_refuses(busy: Agent) -> None:
    asked: list[bool] = []
    busy.datapath.maintain = lambda: asked.append(True)  # type: ignore[attr-defined]
    busy.control.repair.error = "no memory"
    assert not supervisor._maintain(busy.control, Garbage())
    assert asked == []
    busy.control.repair.error = None
    while supervisor._maintain(busy.control, Garbage()):
        pass
    assert asked


def test_spare_tables_come_first_when_they_run_out(busy: Agent) -> None:
    order: list[str] = []

    def piece(name: str) -> Callable[[], bool]:
        return lambda: not order.append(name)  # type: ignore[func-returns-value]

    busy.datapath.maintain = piece("spare tables")  # type: ignore[attr-defined]
    with patch.object(busy.control, "settle", piece("classes")):
        assert supervisor._maintain(busy.control, Garbage())
        busy.datapath.hurried = True
        assert supervisor._maintain(busy.control, Garbage())
    assert order == ["classes", "spare tables"]


def test_background_work_that_fails_is_no_end(busy: Agent, caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> bool:
        raise OSError(12, "no memory")

    busy.datapath.maintain = refuse  # type: ignore[attr-defined]
    while busy.control.settle():
        pass
    assert not supervisor._maintain(busy.control, Garbage())
    assert "background work failed" in caplog.text


class CountingSelector(selectors.DefaultSelector):
    """Counts how often the event loop looks for something to do."""

    looks = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.looks += 1
        return super().select(timeout)


class Readable:
    """A monitor on which something has happened, and stays unread until it is asked what."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._theirs.send(b"x")

    def fileno(self) -> int:
        return self._ours.fileno()

    def read(self) -> Happening:
        self._ours.recv(1)
        return Happening.ADDRESS

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


def test_the_event_loop_sleeps_while_changes_of_the_network_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_SETTLE", 0.05)
    monitor, selector = Readable(), CountingSelector()
    loop = asyncio.SelectorEventLoop(selector)
    try:
        found = loop.run_until_complete(supervisor._settled(cast(NetworkMonitor, monitor)))
    finally:
        loop.close()
        monitor.close()
    assert found is Happening.ADDRESS
    assert selector.looks < 10, "a socket that stays readable kept the loop awake"
