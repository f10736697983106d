"""The API as any HTTP client meets it: every route answers as OpenAPI says, no request harms the agent."""

import base64
import http.client
import json
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from kinety.api.openapi import document
from tests import filters
from tests.e2e.real_node import EMPIRE_ONLY, SOON, Node, refused

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip")

OPENAPI = document()
AUDITS: list[tuple[str, dict[str, str]]] = [
    ("/v1/namespaces/{namespace}/audit", {"namespace": "default"}),
    ("/v1/endpoints/{namespace}/{name}/audit", {"namespace": "default", "name": "xwing"}),
]
CLUSTERWIDE = """
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: everywhere}
spec:
  endpointSelector: {matchLabels: {class: xwing}}
  ingressDeny:
  - fromEntities: [world]
  ingress:
  - fromEntities: [all]
"""


class Connection(http.client.HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("kinety", timeout=SOON)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@contextmanager
def answered(
    node: Node, method: str, target: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> Iterator[http.client.HTTPResponse]:
    connection = Connection(node.socket)
    try:
        # A refusal may come before the whole body is taken.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, target, body, headers or {"Content-Type": "application/json"})
        yield connection.getresponse()
    finally:
        connection.close()


def ask(node: Node, method: str, target: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON body of a request."""
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    with answered(node, method, target, data) as response:
        content = response.read()
        assert not content or response.headers["Content-Type"].startswith("application/json")
        return response.status, json.loads(content) if content else None


def conforms(value: Any, schema: dict[str, Any]) -> None:
    """Raises ValidationError for a value that is not what the document says, unknown fields included."""
    Draft202012Validator(strict(schema) | {"components": strict(OPENAPI["components"])}).validate(value)


def strict(schema: Any) -> Any:
    """The schema with every object closed: an answer must not carry a field that is not described."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if "properties" in schema and "additionalProperties" not in schema:
        closed["additionalProperties"] = False
    return closed


class Walk:
    """Requests whose answers are held against the document, remembering which were made."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.taken: set[tuple[str, str]] = set()

    def __call__(self, method: str, path: str, body: Any = None, query: str = "", **parts: str) -> Any:
        operation = self._operation(method, path)
        target = path.format(**{key: quote(part, safe="") for key, part in parts.items()}) + query
        if body is not None:
            conforms(body, operation["requestBody"]["content"]["application/json"]["schema"])
        status, value = ask(self._node, method, target, body)
        assert str(status) in operation["responses"], f"{method} {target}: {status} is not described"
        content = operation["responses"][str(status)].get("content")
        if content is None:
            assert value is None
        else:
            conforms(value, content["application/json"]["schema"])
        return status if value is None else value

    def lines(self, path: str, query: str = "") -> Iterator[Any]:
        """A stream, line by line."""
        schema = self._operation("GET", path)["responses"]["200"]["content"]["application/x-ndjson"]["schema"]
        with answered(self._node, "GET", path + query) as response:
            assert response.headers["Content-Type"] == "application/x-ndjson"
            yield None
            while True:
                value = json.loads(response.readline())
                conforms(value, schema)
                yield value

    def _operation(self, method: str, path: str) -> dict[str, Any]:
        self.taken.add((method, path))
        operation: dict[str, Any] = OPENAPI["paths"][path][method.lower()]
        return operation


def test_the_document_is_valid_openapi() -> None:
    validate(OPENAPI)


@pytest.fixture(scope="module")
def walker(shared: Node) -> str:
    """A network namespace that is not attached."""
    return shared.bare_workload("walker").name


def test_every_route_answers_as_described(shared: Node, walker: str) -> None:
    walk = Walk(shared)
    assert walk("GET", "/v1/status")["endpoints"] == 3
    request = {"name": "walker", "namespace": "prod", "netns": walker, "labels": ["class=walker"]}
    made = walk("POST", "/v1/endpoints", request | {"addresses": ["10.240.9.9"], "mtu": 1400})
    assert (made["ipv4"], made["mtu"], made["state"]) == ("10.240.9.9", 1400, "ready")
    assert "already" in walk("POST", "/v1/endpoints", request)["error"]
    assert len(walk("GET", "/v1/endpoints")) == 4
    one = {"namespace": "prod", "name": "walker"}
    found = walk("GET", "/v1/endpoints/{namespace}/{name}", **one)
    assert found == made | {"attach_seconds": None}
    assert walk("DELETE", "/v1/endpoints/{namespace}/{name}", **one) == 204
    assert "no endpoint prod/walker" in walk("DELETE", "/v1/endpoints/{namespace}/{name}", **one)["error"]
    given_up = next(each for each in walk("GET", "/v1/addresses") if each["address"] == "10.240.9.9")
    assert (given_up["state"], given_up["endpoint"]) == ("quarantine", "prod/walker")

    attachment = {"container": "c1", "network": "net"}
    made = walk("POST", "/v1/endpoints", request | {"attachment": attachment})
    assert (made["attachment"], made["default_routes"]) == (attachment, ["0.0.0.0/0", "::/0"])
    plain = made | {"attach_seconds": None, "default_routes": None}
    assert walk("GET", "/v1/attachments") == walk("GET", "/v1/attachments", query="?network=net") == [plain]
    assert walk("GET", "/v1/attachments", query="?network=other") == []
    one = {"container": "c1", "interface": "eth0"}
    state = walk("GET", "/v1/attachments/{container}/{interface}", **one)
    assert state == {"endpoint": plain, "problems": [], "default_routes": ["0.0.0.0/0", "::/0"]}
    assert walk("DELETE", "/v1/attachments/{container}/{interface}", **one) == 204
    for method in ("GET", "DELETE"):
        assert "no interface eth0" in walk(method, "/v1/attachments/{container}/{interface}", **one)["error"]

    documents = {"documents": [{"file": "all.yaml", "text": CLUSTERWIDE}]}
    assert walk("POST", "/v1/policies", documents, "?dry_run=1")["dry_run"]
    assert walk("POST", "/v1/policies", documents)["policies"][0]["outcome"] == "created"
    bad = walk("POST", "/v1/policies", {"documents": [{"file": "b.yaml", "text": "kind: ["}]})
    assert (bad["file"], bad["line"]) == ("b.yaml", 1)
    assert {policy["name"] for policy in walk("GET", "/v1/policies")} == {"everywhere", "rule1"}
    one = {"kind": "CiliumClusterwideNetworkPolicy", "namespace": "-", "name": "everywhere"}
    assert walk("GET", "/v1/policies/{kind}/{namespace}/{name}", **one)["text"] == CLUSTERWIDE
    rules = walk("GET", "/v1/rules")
    assert {"all.yaml", "<stdin>"} <= {rule["file"] for rule in rules}
    assert {rule["action"] for rule in rules} == {"allow", "deny"}
    assert (
        "in force already" in walk("POST", "/v1/policies/{kind}/{namespace}/{name}/promotion", **one)["error"]
    )
    staged = CLUSTERWIDE.replace("{name", '{annotations: {kinety.io/staged: "true"}, name')
    walk("POST", "/v1/policies", {"documents": [{"file": "all.yaml", "text": staged}]})
    assert [each["mode"] for each in walk("GET", "/v1/shadow")["policies"]] == ["staged"]
    promoted = walk("POST", "/v1/policies/{kind}/{namespace}/{name}/promotion", **one)
    assert promoted["policies"][0]["outcome"] == "updated"
    for path, parts in AUDITS:
        for audit in (True, False):
            told = walk("PUT", path, {"audit": audit}, **parts)
            assert (told["audit"], told["endpoints"]) == (audit, 3 if told["name"] is None else 1)
    for audit in (True, False):
        assert walk("PUT", "/v1/node/audit", {"audit": audit}) == {"audit": audit, "changed": True}
    deleted = walk("DELETE", "/v1/policies/{kind}/{namespace}/{name}", **one)
    assert deleted["policies"][0]["outcome"] == "deleted"
    assert "no policy" in walk("GET", "/v1/policies/{kind}/{namespace}/{name}", **one)["error"]

    for level in ("drops", "flows"):
        told = walk("POST", "/v1/datapath/reload", {"events": level})
        assert (told["configuration"]["events"], told["endpoints"]) == (level, 3)
    no_object = walk("POST", "/v1/datapath/reload", {"object": "%%"})
    assert no_object["path"] == "object"

    asked = "?from=xwing&to=deathstar&port=80"
    assert walk("GET", "/v1/explanation", query=asked)["verdict"] == "deny"
    assert "did you mean" in walk("GET", "/v1/explanation", query=asked.replace("xwing", "xwng"))["error"]
    assert "'to' is missing" in walk("GET", "/v1/explanation", query="?from=xwing")["error"]
    assert {row["direction"] for row in walk("GET", "/v1/verdicts")} == {"egress", "ingress"}
    assert walk("GET", "/v1/findings") == []
    assert walk("GET", "/v1/proxies")["listeners"] == []

    assert {"reserved:world"} in [set(item["labels"]) for item in walk("GET", "/v1/identities")]
    maps = walk("GET", "/v1/maps")
    for each in maps:
        answer = walk("GET", "/v1/maps/{name}", name=each["name"], query="?limit=2")
        assert ("error" in answer) == (each["name"] in ("events", "lookups", "shadow_scratch"))
        assert len(answer.get("rows", ())) <= 2
    assert "no map 'nope'" in walk("GET", "/v1/maps/{name}", name="nope")["error"]

    elf = base64.b64encode(filters.filter_object(filters.answer(0, "INGRESS"))).decode()
    [filter_] = walk("PUT", "/v1/hooks/{name}", {"file": "pass.o", "object": elf}, name="pass")["filters"]
    assert (filter_["direction"], filter_["dropped_packets"]) == ("ingress", 0)
    assert [each["name"] for each in walk("GET", "/v1/hooks")] == ["pass"]
    walk("DELETE", "/v1/hooks/{name}", name="pass")
    assert "no hook pass" in walk("DELETE", "/v1/hooks/{name}", name="pass")["error"]

    why = "?from=xwing&to=deathstar&protocol=TCP&port=80"
    assert walk("GET", "/v1/explanation", query=why)["verdict"] == "deny"
    assert {row["verdict"] for row in walk("GET", "/v1/verdicts")} >= {"allow", "deny"}
    assert walk("GET", "/v1/findings") == []

    told = {"addresses": ["198.51.100.7", "2001:db8::7"], "ttl": 60}
    learnt = walk("PUT", "/v1/names/{name}", told, name="WWW.example.com.")["mappings"]
    assert [(each["name"], each["address"]) for each in learnt] == [
        ("www.example.com", address) for address in told["addresses"]
    ]
    assert len(walk("GET", "/v1/names", query="?match=*.example.com")["mappings"]) == 2
    assert walk("GET", "/v1/names", query="?match=*.org")["mappings"] == []
    assert walk("DELETE", "/v1/names/{name}", name="www.example.com") == {"mappings": 2}
    assert "no address of" in walk("DELETE", "/v1/names/{name}", name="www.example.com")["error"]
    assert walk("DELETE", "/v1/names") == {"mappings": 0}

    events = walk.lines("/v1/events", "?kind=drop&endpoint=default/deathstar")
    next(events)
    assert refused(shared.workloads["xwing"], shared.address("deathstar"), 80, 0.3)
    assert any(event["reason"] == "policy-denied" for event in events)
    events.close()  # type: ignore[attr-defined]

    described = {(method.upper(), path) for path, item in OPENAPI["paths"].items() for method in item}
    assert walk.taken == described
    assert ask(shared, "GET", "/v1/openapi.json") == (200, OPENAPI)


def document_of(text: str, file: str = "x.yaml") -> dict[str, Any]:
    return {"documents": [{"file": file, "text": text}]}


BAD_REQUESTS: list[tuple[str, str, Any, int]] = [
    ("POST", "/v1/policies", b"", 400),
    ("POST", "/v1/policies", b"{", 400),
    ("POST", "/v1/policies", b"\xff\xfe", 400),
    ("POST", "/v1/policies", b"[" * 100_000, 400),
    ("POST", "/v1/policies", b'{"a":' * 5000 + b"1" + b"}" * 5000, 400),
    ("POST", "/v1/policies", b'{"documents": 1e999}', 400),
    ("POST", "/v1/policies", [], 400),
    ("POST", "/v1/policies", {"documents": "x"}, 400),
    ("POST", "/v1/policies", {"documents": [{"file": "x"}]}, 400),
    ("POST", "/v1/policies", {"documents": [], "more": 1}, 400),
    ("POST", "/v1/policies", b'{"documents": [{"file": "x", "text": "\\ud800"}]}', 400),
    ("POST", "/v1/policies", document_of("a\0b"), 400),
    ("POST", "/v1/policies", document_of(""), 400),
    ("POST", "/v1/policies?dry_run=perhaps", document_of(EMPIRE_ONLY), 400),
    ("POST", "/v1/policies", b" " * (4 * 2**20 + 1), 413),
    ("POST", "/v1/policies", document_of("#" * 10_000_000), 413),
    ("POST", "/v1/endpoints", {"name": "x"}, 400),
    ("POST", "/v1/endpoints", {"name": "x", "netns": "/proc/self/ns/net", "pid": 1}, 400),
    ("POST", "/v1/endpoints", {"name": "x", "netns": "relative"}, 400),
    ("POST", "/v1/endpoints", {"name": "x", "netns": "/run/netns/../../etc/passwd"}, 400),
    ("POST", "/v1/endpoints", {"name": "x", "netns": "/run/netns/\0"}, 400),
    ("POST", "/v1/endpoints", {"name": "x", "netns": "/dev/zero"}, 400),
    ("POST", "/v1/endpoints", {"name": "x", "pid": -1}, 400),
    ("POST", "/v1/endpoints", {"name": "x", "pid": 2**70}, 400),
    ("POST", "/v1/endpoints", {"name": "x", "pid": 2**31, "mtu": 2**40}, 400),
    ("POST", "/v1/endpoints", {"name": "../../etc/x", "pid": 1}, 400),
    ("GET", "/v1/endpoints/..%2f..%2fetc/passwd", None, 404),
    ("GET", "/v1/endpoints/default/%00", None, 404),
    ("DELETE", "/v1/endpoints/default/" + "x" * 3000, None, 404),
    ("GET", "/v1/endpoints/default/%ff%fe", None, 404),
    ("GET", "/v1/policies/a/b/c", None, 404),
    ("GET", "/v1/policies/CiliumNetworkPolicy/default/..%2f..%2frule1", None, 404),
    ("DELETE", "/v1/policies/CiliumNetworkPolicy/-/rule1", None, 404),
    ("GET", "/v1/maps/..%2fstatus", None, 404),
    ("GET", "/v1/maps/../../etc/passwd", None, 404),
    ("GET", "/v1/maps/endpoints?limit=-1", None, 400),
    ("GET", "/v1/maps/endpoints?limit=" + "9" * 30, None, 400),
    ("GET", "/v1/maps/endpoints?limit=0", None, 400),
    ("GET", "/v1/maps/endpoints?limit=%D9%A3", None, 400),
    ("GET", "/v1/events?kind=nonsense", None, 400),
    ("GET", "/v1/events?port=70000", None, 400),
    ("GET", "/v1/events?address=10.0.0.0/8", None, 400),
    ("GET", "/v1/events?colour=red", None, 400),
    ("GET", "/", None, 404),
    ("GET", "/v1", None, 404),
    ("GET", "/v1/status/", None, 404),
    ("GET", "/v2/status", None, 404),
    ("PUT", "/v1/endpoints", {}, 405),
    ("DELETE", "/v1/policies", None, 405),
    ("POST", "/v1/status", {}, 405),
    ("PATCH", "/v1/endpoints/default/deathstar", {}, 405),
]


@pytest.fixture(scope="module")
def held(shared: Node) -> dict[str, Any]:
    """What is in force before any of the bad requests."""
    return shared.settled()


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    BAD_REQUESTS,
    ids=[
        f"{number}-{method} {re.sub('[^ -~]', '', target[:40])}"
        for number, (method, target, _, _) in enumerate(BAD_REQUESTS)
    ],
)
def test_a_bad_request_is_refused_and_changes_nothing(
    shared: Node, held: dict[str, Any], method: str, target: str, body: Any, status: int
) -> None:
    answer, problem = ask(shared, method, target, body)
    assert (answer, set(problem) - {"file", "line", "path"}) == (status, {"error"}), problem
    assert shared.held() == held


def test_a_body_of_another_type_is_refused(shared: Node, held: dict[str, Any]) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        body = json.dumps(document_of(EMPIRE_ONLY.replace("rule1", "other"))).encode()
        with answered(shared, "POST", "/v1/policies", body, {"Content-Type": kind}) as response:
            assert response.status == 415
            assert "application/json" in json.loads(response.read())["error"]
    assert shared.held() == held


@pytest.mark.parametrize(
    "data",
    [
        b"\0\1\2\3\r\n\r\n",
        b"GET /v1/status HTTP/9.9\r\n\r\n",
        b"POST /v1/policies HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/policies HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["noise", "version", "length", "chunk", "header", "target"],
)
def test_what_is_no_http_is_refused(shared: Node, held: dict[str, Any], data: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(SOON)
        raw.connect(str(shared.socket))
        with suppress(BrokenPipeError):
            raw.sendall(data)
        assert raw.recv(4096).startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert shared.held() == held


def test_a_request_that_never_ends_holds_up_nobody(shared: Node, held: dict[str, Any]) -> None:
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(str(shared.socket))
        slow.sendall(b"POST /v1/policies HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        assert ask(shared, "GET", "/v1/status")[0] == 200
    assert shared.held() == held


def test_random_bytes_in_every_parameter(shared: Node, held: dict[str, Any]) -> None:
    for path in OPENAPI["paths"]:
        names = re.findall(r"{(\w+)}", path)
        for _ in range(5 if names else 0):
            parts = {name: quote(secrets.token_bytes(12), safe="") for name in names}
            status, problem = ask(shared, "GET", path.format(**parts))
            refusals = {404} if "get" in OPENAPI["paths"][path] else {404, 405}
            assert (status in refusals, "error" in problem) == (True, True)
    assert shared.held() == held
