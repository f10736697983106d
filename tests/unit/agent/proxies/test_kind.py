"""Which proxies a node can have."""

from pathlib import Path

import pytest

from kinety.agent.options import parse
from kinety.agent.proxies import kind as proxy_kind
from kinety.agent.proxies.reception import Reception
from kinety.agent.proxies.surroundings import Surroundings


def kinds(directory: Path, *options: str) -> set[str]:
    given = parse(["--socket", str(directory / "agent.sock"), *options])
    return set(proxy_kind.proxies(given, Reception(), Surroundings(lambda: (), None)))


def test_a_node_has_what_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kinds(tmp_path, "--envoy", "/bin/true") == {"http", "server_names", "dns"}
    assert kinds(tmp_path, "--envoy", "/no/envoy") == {"dns"}
    assert kinds(tmp_path, "--envoy", "/bin/true", "--l7-redirect", "none") == set()
    monkeypatch.setattr(proxy_kind, "_LIBRARIES", ("no_such_library",))
    assert kinds(tmp_path, "--envoy", "/bin/true") == set()


def test_an_envoy_that_a_former_agent_has_left_is_one(tmp_path: Path) -> None:
    (tmp_path / "envoy").mkdir()
    assert kinds(tmp_path, "--envoy", "/no/envoy") == {"http", "server_names", "dns"}
