"""The agent's API as methods, over HTTP on its unix socket; standard library only."""

import http.client
import json
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from kinety.api import address, hook, insight, naming, overview, proxy, reload, shadow, types
from kinety.api.decode import decode, encode
from kinety.api.errors import AgentUnreachable, ApiError

_T = TypeVar("_T")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("kinety", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Not Python's timeout: with it connect fails at once where many wait. Source: unix(7), EAGAIN.
            if self.timeout is not None:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(self.timeout))
            self.sock.connect(self._path)
        except BlockingIOError as error:
            self.sock.close()
            raise TimeoutError(f"nobody took the connection within {self.timeout} s") from error
        except OSError:
            self.sock.close()
            raise
        self.sock.settimeout(self.timeout)


class Client:
    """One agent. Methods raise ApiError when it refuses and AgentUnreachable when nobody answers.

    A connection is kept between requests; ``events`` uses one of its own. Not for several threads at once.
    """

    def __init__(self, socket_path: str | Path = types.DEFAULT_SOCKET, timeout: float = 60.0) -> None:
        self._socket_path = str(socket_path)
        self._timeout = timeout
        self._connection: _UnixConnection | None = None

    def close(self) -> None:
        """Close the kept connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def status(self) -> overview.Status:
        """The agent at a glance."""
        return decode(overview.Status, self._request("GET", "/v1/status"))

    def endpoints(self) -> tuple[types.Endpoint, ...]:
        """Every endpoint, by namespace and name."""
        return self._list(types.Endpoint, "/v1/endpoints")

    def endpoint(self, namespace: str, name: str) -> types.Endpoint:
        """One endpoint."""
        return decode(types.Endpoint, self._request("GET", _path("endpoints", namespace, name)))

    def attach(self, request: types.EndpointRequest) -> types.Endpoint:
        """Give a network namespace its interface; returns when its policy is in force."""
        return decode(types.Endpoint, self._request("POST", "/v1/endpoints", encode(request)))

    def detach(self, namespace: str, name: str) -> None:
        """Take an endpoint's interface away."""
        self._request("DELETE", _path("endpoints", namespace, name))

    def attachments(self, network: str | None = None) -> tuple[types.Endpoint, ...]:
        """Endpoints that a container runtime asked for; of one network, or of all."""
        query = f"?{urlencode({'network': network})}" if network is not None else ""
        return self._list(types.Endpoint, "/v1/attachments" + query)

    def attachment(self, container: str, interface: str) -> types.AttachmentState:
        """A container's interface, compared with what is in its network namespace."""
        found = self._request("GET", _path("attachments", container, interface))
        return decode(types.AttachmentState, found)

    def detach_attachment(self, container: str, interface: str) -> None:
        """Take a container's interface away."""
        self._request("DELETE", _path("attachments", container, interface))

    def policies(self) -> tuple[types.Policy, ...]:
        """Every policy in force."""
        return self._list(types.Policy, "/v1/policies")

    def policy(self, kind: str, namespace: str, name: str) -> types.PolicyText:
        """One policy with its text. ``namespace`` is empty for cluster-wide kinds."""
        return decode(types.PolicyText, self._request("GET", _path("policies", kind, namespace, name)))

    def apply(self, documents: Iterable[types.Document], *, dry_run: bool = False) -> types.PolicyResult:
        """Apply policies, all or nothing; returns when they are in force on every endpoint."""
        path = "/v1/policies" + ("?dry_run=1" if dry_run else "")
        body = encode(types.PolicyDocuments(tuple(documents)))
        return decode(types.PolicyResult, self._request("POST", path, body))

    def delete_policy(self, kind: str, namespace: str, name: str) -> types.PolicyResult:
        """Remove a policy; returns when that is in force."""
        return decode(types.PolicyResult, self._request("DELETE", _path("policies", kind, namespace, name)))

    def promote(self, kind: str, namespace: str, name: str) -> types.PolicyResult:
        """Put a policy into force that is staged or in audit; returns when it is."""
        path = _path("policies", kind, namespace, name) + "/promotion"
        return decode(types.PolicyResult, self._request("POST", path))

    def shadow_report(self) -> shadow.ShadowReport:
        """What policies that are staged or in audit would have changed."""
        return decode(shadow.ShadowReport, self._request("GET", "/v1/shadow"))

    def audit(self, namespace: str, name: str | None, on: bool) -> shadow.AuditResult:
        """Let an endpoint, or without a name a namespace, do everything and only report it, or no more."""
        where = _path("namespaces", namespace) if name is None else _path("endpoints", namespace, name)
        body = encode(shadow.AuditRequest(on))
        return decode(shadow.AuditResult, self._request("PUT", f"{where}/audit", body))

    def audit_node(self, on: bool) -> shadow.NodeAuditResult:
        """Let the node itself do everything and only report it, or no more."""
        body = encode(shadow.AuditRequest(on))
        return decode(shadow.NodeAuditResult, self._request("PUT", "/v1/node/audit", body))

    def hooks(self) -> tuple[hook.Hook, ...]:
        """The operator's filters, in the order in which they are asked."""
        return self._list(hook.Hook, "/v1/hooks")

    def load_hook(self, name: str, request: hook.HookObject) -> hook.Hook:
        """Ask filters from the next packet on, in the place of those that have the name."""
        return decode(hook.Hook, self._request("PUT", _path("hooks", name), encode(request)))

    def unload_hook(self, name: str) -> None:
        """Ask filters no more."""
        self._request("DELETE", _path("hooks", name))

    def proxies(self) -> proxy.Proxies:
        """The proxies for rules about content, and what they serve."""
        return decode(proxy.Proxies, self._request("GET", "/v1/proxies"))

    def reload(self, request: reload.ReloadRequest) -> reload.ReloadResult:
        """Put other programs under all endpoints; returns when every packet meets them."""
        return decode(reload.ReloadResult, self._request("POST", "/v1/datapath/reload", encode(request)))

    def explanation(
        self,
        source: str,
        destination: str,
        protocol: str = "TCP",
        port: int | None = None,
        request: tuple[str | None, str | None] = (None, None),
    ) -> insight.Explanation:
        """Why a flow is let through or not. Ends are names, labels, addresses, ``host`` or ``world``.

        ``request`` is the method and the path of an HTTP request, each of them None when it is not asked.
        """
        given = {"port": port, "method": request[0], "path": request[1]}
        query = {"from": source, "to": destination, "protocol": protocol}
        query |= {name: str(value) for name, value in given.items() if value is not None}
        return decode(insight.Explanation, self._request("GET", f"/v1/explanation?{urlencode(query)}"))

    def findings(self) -> tuple[insight.PolicyFinding, ...]:
        """What is odd about the policies in force."""
        return self._list(insight.PolicyFinding, "/v1/findings")

    def verdicts(self) -> tuple[insight.VerdictRow, ...]:
        """Every verdict of every endpoint."""
        return self._list(insight.VerdictRow, "/v1/verdicts")

    def addresses(self) -> tuple[address.Address, ...]:
        """Every address that an endpoint has, or that nobody gets yet."""
        return self._list(address.Address, "/v1/addresses")

    def names(self, match: str | None = None) -> naming.Names:
        """What DNS said of names that rules ask for; of those of a pattern, or of all."""
        query = f"?{urlencode({'match': match})}" if match is not None else ""
        return decode(naming.Names, self._request("GET", "/v1/names" + query))

    def learn_name(self, name: str, told: naming.NameAnswer) -> naming.Names:
        """Say it in the place of DNS; returns when rules know the addresses."""
        return decode(naming.Names, self._request("PUT", _path("names", name), encode(told)))

    def forget_names(self, name: str | None = None) -> naming.NamesForgotten:
        """Forget the addresses of a name, or of all names."""
        path = "/v1/names" if name is None else _path("names", name)
        return decode(naming.NamesForgotten, self._request("DELETE", path))

    def identities(self) -> tuple[types.Identity, ...]:
        """Every identity the node knows, reserved ones included."""
        return self._list(types.Identity, "/v1/identities")

    def rules(self) -> tuple[types.Rule, ...]:
        """Every rule in force with its counters."""
        return self._list(types.Rule, "/v1/rules")

    def maps(self) -> tuple[types.MapSummary, ...]:
        """The maps of the datapath."""
        return self._list(types.MapSummary, "/v1/maps")

    def map_rows(self, name: str, limit: int | None = None) -> types.MapRows:
        """Rows of one map, all of them or at most ``limit``."""
        query = f"?limit={limit}" if limit is not None else ""
        return decode(types.MapRows, self._request("GET", _path("maps", name) + query))

    def events(self, filters: Mapping[str, str] | None = None) -> Iterator[types.Event]:
        """Events as they happen, until the agent or the caller ends it.

        ``filters`` are the query parameters of ``/v1/events``. Returns only after the agent has
        subscribed, so what happens after that is seen.
        """
        connection = _UnixConnection(self._socket_path, None)
        query = f"?{urlencode(filters)}" if filters else ""
        response = self._exchange(connection, "GET", "/v1/events" + query, None)
        if response.status != 200:
            data = self._read(response)
            connection.close()
            raise _refusal(response.status, data)
        return _stream(connection, response)

    def _list(self, cls: type[_T], path: str) -> tuple[_T, ...]:
        return tuple(decode(cls, item) for item in self._request("GET", path))

    def _request(self, method: str, path: str, body: Any = None) -> Any:
        connection = self._connection
        reused = connection is not None
        if connection is None:
            connection = self._connection = _UnixConnection(self._socket_path, self._timeout)
        try:
            response = self._exchange(connection, method, path, body)
            data = self._read(response)
        except AgentUnreachable:
            self.close()
            if not reused or method != "GET":
                raise
            return self._request(method, path, body)
        if response.status >= 400:
            raise _refusal(response.status, data)
        return json.loads(data) if data else None

    def _exchange(
        self, connection: _UnixConnection, method: str, path: str, body: Any
    ) -> http.client.HTTPResponse:
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        try:
            # A refusal may come before the whole body was taken; then it is waiting to be read.
            with suppress(BrokenPipeError):
                connection.request(method, path, data, headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise AgentUnreachable(_unreachable(self._socket_path, error)) from error

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise AgentUnreachable(_unreachable(self._socket_path, error)) from error


def _timeval(seconds: float) -> bytes:
    """``struct timeval``: two longs. Zero would be for ever. Source: socket(7), SO_SNDTIMEO."""
    whole, rest = divmod(max(round(seconds * 1_000_000), 1), 1_000_000)
    return struct.pack("@ll", whole, rest)


def _path(*segments: str) -> str:
    return "/v1/" + "/".join(quote(segment, safe="") or "-" for segment in segments)


def _stream(connection: _UnixConnection, response: http.client.HTTPResponse) -> Iterator[types.Event]:
    try:
        while line := response.readline():
            yield decode(types.Event, json.loads(line))
    except (OSError, http.client.HTTPException) as error:
        raise AgentUnreachable(f"the agent ended the stream: {error}") from error
    finally:
        connection.close()


def _refusal(status: int, data: bytes) -> ApiError:
    try:
        problem = decode(types.Problem, json.loads(data))
    except ValueError:
        problem = types.Problem(f"the agent answered {status}: {data[:200].decode(errors='replace')}")
    return ApiError(status, problem)


def _unreachable(path: str, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"not allowed to open {path}: the agent's socket is for root only"
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        return f"no agent answers on {path}: start one with `kinety agent`, or give --socket"
    if isinstance(error, TimeoutError):
        return f"the agent on {path} did not answer in time"
    return f"the agent on {path} went away: {error}"
