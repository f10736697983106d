import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kinety.api.client import _path
from kinety.cni import agent
from kinety.cni.agent import AgentAway, Refusal, ask, quote
from tests.served_node import ValueNode, served


def test_it_speaks_with_the_servers_own_tongue(tmp_path: Path) -> None:
    node = ValueNode()
    with served(node, tmp_path / "agent.sock") as path:
        place = str(path)
        assert [each["name"] for each in ask(place, "GET", "/v1/endpoints")] == ["deathstar"]
        body = {"name": "x", "netns": "/run/netns/x", "attachment": {"container": "c1", "network": "net"}}
        assert ask(place, "POST", "/v1/endpoints", body)["identity"] == 256
        assert node.asked[0].attachment.container == "c1"  # type: ignore[attr-defined]
        with pytest.raises(Refusal, match="no interface") as absent:
            ask(place, "DELETE", "/v1/attachments/c1/eth0")
        with pytest.raises(Refusal, match="not what the API takes") as wrong:
            ask(place, "POST", "/v1/endpoints", {"name": 5})
        assert (absent.value.status, wrong.value.status, wrong.value.path) == (404, 400, "name")
        assert ask(place, "DELETE", "/v1/endpoints/default/deathstar") is None


def test_nobody_listens_is_not_the_same_as_no_answer(tmp_path: Path) -> None:
    place = str(tmp_path / "agent.sock")
    with pytest.raises(AgentAway, match=r"no agent answers on .*No such file") as away:
        ask(place, "GET", "/")
    assert not away.value.asked
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
    with pytest.raises(AgentAway) as refused:
        ask(place, "GET", "/")
    assert not refused.value.asked


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.0 20", b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n[]", b"nonsense\r\n\r\n{}"]
)
def test_an_answer_that_breaks_off_is_none(tmp_path: Path, answer: bytes) -> None:
    with pytest.raises(AgentAway, match=r"in the middle|reset") as away:
        ask(answering(tmp_path, answer), "GET", "/")
    assert away.value.asked


def test_it_waits_where_many_wait(tmp_path: Path) -> None:
    place = str(tmp_path / "agent.sock")
    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(8) as pool:
        listener.bind(place)
        listener.listen(0)
        asked = [pool.submit(ask, place, "GET", "/") for _ in range(8)]
        for _ in asked:
            with listener.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n7")
        assert [each.result() for each in asked] == [7] * 8


def test_who_is_silent_is_not_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = str(tmp_path / "agent.sock")
    monkeypatch.setattr(agent, "_PATIENCE", bytes(8) + (1000).to_bytes(8, sys.byteorder))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen(0)
        with pytest.raises(AgentAway, match="did not answer within a minute") as answering:
            ask(place, "GET", "/")
        with pytest.raises(AgentAway) as accepting:
            ask(place, "GET", "/")
    for away, asked in ((answering.value, True), (accepting.value, False)):
        assert (away.silent, away.asked) == (True, asked)


def test_a_refusal_without_words_is_one_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="the agent answered 500"):
        ask(answering(tmp_path, b"HTTP/1.0 500 No\r\nContent-Length: 2\r\n\r\n[]"), "GET", "/")


def answering(tmp_path: Path, answer: bytes) -> str:
    """The place of a socket where the first who asks is given this."""
    place = str(tmp_path / "agent.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(answer)

    threading.Thread(target=serve).start()
    return place


@pytest.mark.parametrize("segment", ["c1", "a b", "ü", "net%1", "a?b#c", "a@b"])
def test_segments_are_quoted_as_the_client_does(segment: str) -> None:
    of_client: Callable[[str], str] = _path
    assert "/v1/" + quote(segment) == of_client(segment)
