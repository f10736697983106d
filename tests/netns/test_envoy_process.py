"""Agents and Envoys come and go: what is in force stays, and what is not changed is not told again."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinety.model.layer7 import HttpRule, Layer7, Layer7Id
from kinety.proxy.envoy.listener import Listener
from kinety.proxy.error import ProxyError
from kinety.testing.wait import wait_until
from tests.netns.crossing import PATIENCE
from tests.netns.envoy_node import FIRST_PORT, HTTP, EnvoyNode, asked, envoy_node, get
from tests.netns.witness import Witness

pytestmark = pytest.mark.needs("root", "netns", "nft", "envoy")

PUBLIC = Layer7(http=(HttpRule("GET", "/public/.*"),))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[EnvoyNode]:
    with envoy_node(tmp_path / "envoy") as made, Witness(made.crossing.server, HTTP):
        yield made


def test_an_agent_that_comes_back_tells_a_live_envoy_nothing(node: EnvoyNode) -> None:
    listeners = {Layer7Id("rules"): node.put(PUBLIC)}
    pid = node.status().pid
    with node.crossing.connect(HTTP) as connection:
        assert asked(connection, get("/public/a"))[0] == 200
        node.leave()
        assert asked(connection, get("/public/a"))[0] == 200
        assert asked(connection, get("/secret"))[0] == 403
        with node.crossing.connect(HTTP) as another:
            assert asked(another, get("/secret"))[0] == 403
        node.begin(listeners)
        # Nothing to tell: the put finds everything confirmed once Envoy has come back and said what it has.
        node.crossing.run(node.envoy.put(listeners))
        status = node.status()
        assert (status.pid, status.starts, status.responses) == (pid, 0, 0)
        assert asked(connection, get("/public/a"))[0] == 200
        node.put(Layer7(http=(HttpRule("GET", "/other/.*"),)))
        assert node.status().responses == 1
        assert asked(connection, get("/public/a"))[0] == 403


def test_what_went_while_the_agent_was_away_goes(node: EnvoyNode) -> None:
    node.put(PUBLIC, name="old", to=8080)
    listeners = {Layer7Id("rules"): node.put(PUBLIC)}
    node.leave()
    node.begin(listeners)
    wait_until(lambda: not node.listens(8080), PATIENCE)
    assert node.listens(HTTP)


def test_envoy_killed_serves_again_within_a_second(node: EnvoyNode) -> None:
    node.put(PUBLIC)
    pid = node.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: node.status().pid not in (None, pid) and node.listens(HTTP), PATIENCE)
    with node.crossing.connect(HTTP) as connection:
        assert asked(connection, get("/public/a"))[0] == 200
        assert asked(connection, get("/secret"))[0] == 403


def test_envoy_killed_while_the_agent_is_away_is_started_by_the_next(node: EnvoyNode) -> None:
    listeners = {Layer7Id("rules"): node.put(PUBLIC)}
    pid = node.status().pid
    node.leave()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not node.listens(HTTP)
    node.begin(listeners)
    wait_until(lambda: node.listens(HTTP), PATIENCE)
    assert node.status().starts == 1


def test_envoy_has_one_capability_and_no_way_to_more(node: EnvoyNode) -> None:
    pid = node.status().pid
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    net_raw = [f"{1 << 13:016x}"]
    assert status["Uid"] == [str(node.settings.user)] * 4
    assert status["Gid"] == [str(node.settings.user)] * 4
    assert not status["Groups"]
    assert status["CapEff"] == status["CapPrm"] == status["CapBnd"] == net_raw
    assert status["NoNewPrivs"] == ["1"]
    # Nobody else may speak to either.
    for socket in (node.settings.channel, node.settings.admin):
        assert (socket.stat().st_uid, socket.stat().st_mode & 0o777) == (node.settings.user, 0o600)


def test_other_settings_start_envoy_anew(node: EnvoyNode) -> None:
    listeners = {Layer7Id("rules"): node.put(PUBLIC)}
    pid = node.status().pid
    node.leave()
    node.change(source_ports=(62000, 62999))
    node.begin(listeners)
    wait_until(lambda: node.listens(HTTP) and node.status().pid != pid, PATIENCE)
    with Witness(node.crossing.server, 8080) as server:
        node.put(PUBLIC, name="other", to=8080)
        with node.crossing.connect(8080) as connection:
            assert asked(connection, get("/public/a"))[0] == 200
        assert 62000 <= server.seen[0].peer[1] <= 62999


def test_without_an_envoy_nothing_is_put(node: EnvoyNode) -> None:
    node.end()
    node.change(binary="no-such-envoy", patience=0.2)
    node.begin()
    with pytest.raises(ProxyError, match="no program no-such-envoy"):
        node.put(PUBLIC)
    status = node.status()
    assert status.pid is None
    assert status.problem is not None
    assert "no program" in status.problem
    assert status.listeners == {}


def test_a_connection_to_the_listener_itself_goes_nowhere(node: EnvoyNode) -> None:
    listener: Listener = node.put(PUBLIC)
    with node.connect_listener(listener) as connection:
        assert asked(connection, get("/public/a"))[0] == 0
    assert node.status().listeners[Layer7Id("rules")].requests == 0


def test_no_more_connections_than_there_may_be(node: EnvoyNode) -> None:
    node.end()
    node.change(max_connections=2)
    node.begin()
    node.put(PUBLIC)
    connections = [node.crossing.connect(HTTP) for _ in range(3)]
    try:
        assert sorted(asked(each, get("/public/a"))[0] for each in connections) == [0, 200, 200]
    finally:
        for each in connections:
            each.close()


def test_a_thousand_listeners(node: EnvoyNode) -> None:
    def listener(number: int, path: str) -> Listener:
        return Listener(FIRST_PORT + number, Layer7(http=(HttpRule("GET", path),)), ("default/one",))

    listeners = {Layer7Id(f"{number:032x}"): listener(number, f"/{number}/.*") for number in range(1000)}
    node.crossing.run(node.envoy.put(listeners))
    assert node.status().listeners.keys() == listeners.keys()
    # An agent that comes back to them has nothing to tell; one that is changed is one message.
    node.leave()
    node.begin(listeners)
    node.crossing.run(node.envoy.put(listeners))
    assert node.status().responses == 0
    id, changed = Layer7Id(f"{HTTP:032x}"), listener(HTTP, "/changed/.*")
    node.crossing.run(node.envoy.put({id: changed}))
    assert node.status().responses == 1
    node.crossing.redirect({HTTP: changed.port, HTTP + 1: changed.port + 1})
    with node.crossing.connect(HTTP) as connection:
        assert asked(connection, get("/changed/a"))[0] == 200
        assert asked(connection, get(f"/{HTTP}/a"))[0] == 403
    with node.crossing.connect(HTTP + 1) as connection:
        assert asked(connection, get("/changed/a"))[0] == 403
    node.crossing.run(node.envoy.remove(listeners))
    assert not node.status().listeners
    assert not node.listens(HTTP)
