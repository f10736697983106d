import json
import socket
from pathlib import Path

import pytest

from tests.served_node import ValueNode


def exchange(path: Path, method: str, target: str, body: bytes = b"") -> tuple[int, object]:
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(path))
        head = (f"{method} {target} HTTP/1.1", "Host: x", "Connection: close")
        lines = (*head, f"Content-Length: {len(body)}")
        stream.sendall("\r\n".join((*lines, "", "")).encode() + body)
        data = b"".join(iter(lambda: stream.recv(65536), b""))
    header, _, content = data.partition(b"\r\n\r\n")
    return int(header.split()[1]), json.loads(content) if content else None


@pytest.mark.parametrize(
    ("body", "path", "word"),
    [
        (b"{", None, "JSON"),
        (b"\xff\xfe\x00", None, "JSON"),
        (b"[]", None, "object"),
        (b"{}", "name", "required"),
        (b'{"name": 5}', "name", "string"),
        (b'{"name": "x", "colour": 1}', "colour", "nexpected"),
        (b'{"name": "x", "labels": "a=b"}', "labels", "array"),
        (b'{"name": "x", "pid": true}', "pid", "integer"),
    ],
)
def test_bad_bodies_are_refused(
    socket_path: Path, node: ValueNode, body: bytes, path: str | None, word: str
) -> None:
    status, problem = exchange(socket_path, "POST", "/v1/endpoints", body)
    assert status == 400
    assert isinstance(problem, dict)
    assert problem.get("path") == path
    assert word in problem["error"]
    assert node.asked == []


def test_unknown_places_and_methods_answer_in_json(socket_path: Path) -> None:
    assert exchange(socket_path, "GET", "/v2/nothing") == (404, {"error": "GET /v2/nothing: Not Found"})
    status, problem = exchange(socket_path, "PUT", "/v1/endpoints")
    assert status == 405
    assert problem == {"error": "PUT /v1/endpoints: Method Not Allowed"}


@pytest.mark.parametrize("limit", ["many", "-1", "0", "", "9999999999", "%D9%A3", "1.5"])
def test_bad_limit(socket_path: Path, limit: str) -> None:
    status, problem = exchange(socket_path, "GET", f"/v1/maps/conntrack?limit={limit}")
    assert status == 400
    assert isinstance(problem, dict)
    assert "limit" in problem["error"]


def test_bad_flag(socket_path: Path) -> None:
    status, problem = exchange(socket_path, "POST", "/v1/policies?dry_run=maybe", b'{"documents": []}')
    assert (status, problem) == (400, {"error": "dry_run 'maybe' is neither 0 nor 1"})


def test_the_agent_serves_its_description(socket_path: Path) -> None:
    status, description = exchange(socket_path, "GET", "/v1/openapi.json")
    assert status == 200
    assert isinstance(description, dict)
    assert "/v1/policies/{kind}/{namespace}/{name}" in description["paths"]
