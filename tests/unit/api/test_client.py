import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from kinety.api import types
from kinety.api.client import Client
from kinety.api.errors import AgentUnreachable, ApiError
from tests.served_node import ValueNode


def test_values_survive_the_journey(node: ValueNode, socket_path: Path) -> None:
    (endpoint,) = node.stored.values()
    with Client(socket_path) as client:
        assert client.endpoints() == (endpoint,)
        assert client.endpoint("default", "deathstar") == endpoint
        request = types.EndpointRequest("x", "prod", pid=7, labels=("a=b",), namespace_labels={"env": "prod"})
        assert client.attach(request) == endpoint
        assert node.asked == [request]
        assert client.map_rows("conntrack", 5).rows == ({"limit": 5},)
        client.detach("default", "deathstar")
        assert client.endpoints() == ()


def test_attachments_are_found_by_container_and_interface(node: ValueNode, socket_path: Path) -> None:
    (plain,) = node.stored.values()
    own = replace(plain, name="x", interface="net%1", attachment=types.Attachment("c1", "blue"))
    node.stored["default", "x"] = own
    with Client(socket_path) as client:
        assert client.attachments() == client.attachments("blue") == (own,)
        assert client.attachments("red") == ()
        assert client.attachment("c1", "net%1") == types.AttachmentState(own, ("eth0 is down",), ("::/0",))
        client.detach_attachment("c1", "net%1")
        with pytest.raises(ApiError, match="no interface"):
            client.detach_attachment("c1", "net%1")
    assert list(node.stored.values()) == [plain]


@pytest.mark.parametrize("namespace", ["prod", ""])
def test_path_segments_are_quoted(socket_path: Path, namespace: str) -> None:
    with Client(socket_path) as client:
        policy = client.policy("CiliumNetworkPolicy", namespace, "a b/ü?")
    assert (policy.namespace, policy.name) == (namespace, "a b/ü?")


def test_refusal_keeps_its_place(socket_path: Path) -> None:
    with Client(socket_path) as client:
        with pytest.raises(ApiError) as raised:
            client.apply([types.Document("p.yaml", "x")], dry_run=True)
        assert raised.value.status == 400
        assert raised.value.problem == types.Problem("no such field", "p.yaml", 7, "spec.toPorts")
        assert str(raised.value) == "p.yaml:7: spec.toPorts: no such field"
        with pytest.raises(ApiError, match="there is no endpoint default/nobody") as missing:
            client.endpoint("default", "nobody")
        assert missing.value.status == 404


def test_large_body_is_refused_whole(socket_path: Path, node: ValueNode) -> None:
    with Client(socket_path) as client, pytest.raises(ApiError, match="larger than 4 MiB") as raised:
        client.apply([types.Document("big.yaml", "x" * (types.BODY_LIMIT + 1))])
    assert raised.value.status == 413
    assert node.asked == []


def test_failure_in_the_agent_tells_nothing_of_its_inside(socket_path: Path, node: ValueNode) -> None:
    node.failure = RuntimeError("secret detail")
    with Client(socket_path) as client, pytest.raises(ApiError) as raised:
        client.endpoints()
    assert raised.value.status == 500
    assert "secret" not in str(raised.value)


def test_events_stream_until_the_agent_ends_it(socket_path: Path, node: ValueNode) -> None:
    with Client(socket_path) as client:
        events = list(client.events({"kind": "drop", "port": "80"}))
    assert events == [types.Event(1.5, "drop"), types.Event(2.5, "new-flow", length=60)]
    assert node.asked == [{"kind": "drop", "port": "80"}]
    assert node.subscription.closed.wait(10)


def test_unknown_event_filter_is_refused(socket_path: Path) -> None:
    with Client(socket_path) as client, pytest.raises(ApiError, match="unknown parameter 'colour'"):
        client.events({"colour": "blue"})


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(AgentUnreachable, match="kinety agent"):
        Client(tmp_path / "none").endpoints()
    stale = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(stale))
    with pytest.raises(AgentUnreachable, match="no agent answers"):
        Client(stale).endpoints()


def test_agent_dies_in_mid_answer(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer_half() -> None:
            connection, _ = listener.accept()
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[")
            connection.close()

        thread = threading.Thread(target=answer_half)
        thread.start()
        with pytest.raises(AgentUnreachable, match="went away"):
            Client(path).endpoints()
        thread.join(10)


def test_a_client_waits_where_many_wait(tmp_path: Path) -> None:
    crowded = tmp_path / "crowded.sock"
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(crowded))
        listener.listen(0)
        stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(crowded))
        with pytest.raises(AgentUnreachable, match="did not answer in time"):
            Client(crowded, timeout=0.05).endpoints()
        patient = stack.enter_context(Client(crowded, timeout=10))
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(patient.endpoints)
            with pytest.raises(TimeoutError):
                asked.result(0.05)
            for _ in range(2):
                connection = stack.enter_context(listener.accept()[0])
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
            assert asked.result(10) == ()
