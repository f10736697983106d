"""The agent's API served with aiohttp: validation in, JSON out, refusals translated once."""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from kinety.api import address, hook, insight, naming, overview, proxy, reload, shadow, types
from kinety.api.errors import ApiError, refuse
from kinety.api.openapi import document
from kinety.api.routes import EVENT_PARAMETERS, ROUTES, Route

log = logging.getLogger(__name__)

#: How often an idle event stream looks whether its reader is still there, in seconds.
_STREAM_CHECK = 2.0
_JSON = "application/json"
_LIMIT = re.compile(r"[1-9][0-9]{0,8}\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")


class Subscription(Protocol):
    """An open stream of events."""

    async def read(self) -> list[types.Event]:
        """Wait for events, and return those that are there; empty when the agent is stopping."""
        ...

    def close(self) -> None:
        """Stop receiving."""
        ...


class Node(Protocol):
    """What the server needs of the agent. Every method raises ApiError to refuse."""

    async def status(self) -> overview.Status: ...
    async def endpoints(self) -> tuple[types.Endpoint, ...]: ...
    async def endpoint(self, namespace: str, name: str) -> types.Endpoint: ...
    async def attach(self, request: types.EndpointRequest) -> types.Endpoint: ...
    async def detach(self, namespace: str, name: str) -> None: ...
    async def attachments(self, network: str | None) -> tuple[types.Endpoint, ...]: ...
    async def attachment(self, container: str, interface: str) -> types.AttachmentState: ...
    async def detach_attachment(self, container: str, interface: str) -> None: ...
    async def policies(self) -> tuple[types.Policy, ...]: ...
    async def policy(self, kind: str, namespace: str, name: str) -> types.PolicyText: ...
    async def apply(self, documents: types.PolicyDocuments, dry_run: bool) -> types.PolicyResult: ...
    async def delete_policy(self, kind: str, namespace: str, name: str) -> types.PolicyResult: ...
    async def promote(self, kind: str, namespace: str, name: str) -> types.PolicyResult: ...
    async def shadow_report(self) -> shadow.ShadowReport: ...
    async def audit_endpoint(self, namespace: str, name: str, on: bool) -> shadow.AuditResult: ...
    async def audit_namespace(self, namespace: str, on: bool) -> shadow.AuditResult: ...
    async def audit_node(self, on: bool) -> shadow.NodeAuditResult: ...
    async def hooks(self) -> tuple[hook.Hook, ...]: ...
    async def load_hook(self, name: str, request: hook.HookObject) -> hook.Hook: ...
    async def unload_hook(self, name: str) -> None: ...
    async def proxies(self) -> proxy.Proxies: ...
    async def reload(self, request: reload.ReloadRequest) -> reload.ReloadResult: ...
    async def explanation(
        self,
        source: str,
        destination: str,
        protocol: str,
        port: int | None,
        request: tuple[str | None, str | None],
    ) -> insight.Explanation: ...
    async def findings(self) -> tuple[insight.PolicyFinding, ...]: ...
    async def verdicts(self) -> tuple[insight.VerdictRow, ...]: ...
    async def addresses(self) -> tuple[address.Address, ...]: ...
    async def names(self, match: str | None) -> naming.Names: ...
    async def learn_name(self, name: str, told: naming.NameAnswer) -> naming.Names: ...
    async def forget_name(self, name: str) -> naming.NamesForgotten: ...
    async def forget_names(self) -> naming.NamesForgotten: ...
    async def identities(self) -> tuple[types.Identity, ...]: ...
    async def rules(self) -> tuple[types.Rule, ...]: ...
    async def maps(self) -> tuple[types.MapSummary, ...]: ...
    async def map_rows(self, name: str, limit: int | None) -> types.MapRows: ...
    def subscribe(self, filters: Mapping[str, str]) -> Subscription: ...


def application(node: Node) -> web.Application:
    """The routes of ``kinety.api.routes`` over a node."""
    app = web.Application(client_max_size=types.BODY_LIMIT, middlewares=[_boundary])
    handlers = _Handlers(node)
    for route in ROUTES:
        app.router.add_route(route.method, route.path, handlers.handler(route))
    app.router.add_get("/v1/openapi.json", handlers.openapi)
    return app


@web.middleware
async def _boundary(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return _problem(error.status, error.problem)
    except web.HTTPRequestEntityTooLarge:
        limit = types.BODY_LIMIT // (1024 * 1024)
        return _problem(413, types.Problem(f"the request is larger than {limit} MiB; split it into several"))
    except web.HTTPException as error:
        return _problem(error.status, types.Problem(f"{request.method} {request.path}: {error.reason}"))
    except ConnectionError:
        raise
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return _problem(500, types.Problem("the agent failed on this request; its log says where"))


def _problem(status: int, problem: types.Problem) -> web.Response:
    body = {"error": problem.error} | {
        key: value for key in ("file", "line", "path", "log") if (value := getattr(problem, key)) is not None
    }
    return web.json_response(body, status=status)


class _Handlers:
    """One method a route; what they answer is written by the route's own type."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._event = TypeAdapter(types.Event)
        self._openapi: bytes | None = None

    def handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        operation: Callable[..., Awaitable[Any]] = getattr(self, route.operation)
        if route.operation == "events":
            return operation
        request_type = TypeAdapter[Any](route.request) if route.request is not None else None
        answer_type = TypeAdapter[Any](route.answer) if route.answer is not None else None

        async def handle(request: web.Request) -> web.Response:
            if request_type is None:
                answer = await operation(request)
            else:
                _require_json(request)
                answer = await operation(request, _validated(request_type, await request.read()))
            if answer_type is None:
                return web.Response(status=route.success)
            body = answer_type.dump_json(answer)
            return web.Response(status=route.success, body=body, content_type=_JSON)

        return handle

    async def status(self, request: web.Request) -> overview.Status:
        return await self._node.status()

    async def endpoints(self, request: web.Request) -> tuple[types.Endpoint, ...]:
        return await self._node.endpoints()

    async def endpoint(self, request: web.Request) -> types.Endpoint:
        return await self._node.endpoint(request.match_info["namespace"], request.match_info["name"])

    async def attach(self, request: web.Request, body: types.EndpointRequest) -> types.Endpoint:
        return await self._node.attach(body)

    async def detach(self, request: web.Request) -> None:
        await self._node.detach(request.match_info["namespace"], request.match_info["name"])

    async def attachments(self, request: web.Request) -> tuple[types.Endpoint, ...]:
        return await self._node.attachments(request.query.get("network"))

    async def attachment(self, request: web.Request) -> types.AttachmentState:
        return await self._node.attachment(request.match_info["container"], request.match_info["interface"])

    async def detach_attachment(self, request: web.Request) -> None:
        await self._node.detach_attachment(request.match_info["container"], request.match_info["interface"])

    async def policies(self, request: web.Request) -> tuple[types.Policy, ...]:
        return await self._node.policies()

    async def policy(self, request: web.Request) -> types.PolicyText:
        return await self._node.policy(*_policy_key(request))

    async def apply(self, request: web.Request, body: types.PolicyDocuments) -> types.PolicyResult:
        return await self._node.apply(body, _flag(request, "dry_run"))

    async def delete_policy(self, request: web.Request) -> types.PolicyResult:
        return await self._node.delete_policy(*_policy_key(request))

    async def promote(self, request: web.Request) -> types.PolicyResult:
        return await self._node.promote(*_policy_key(request))

    async def shadow_report(self, request: web.Request) -> shadow.ShadowReport:
        return await self._node.shadow_report()

    async def audit_endpoint(self, request: web.Request, body: shadow.AuditRequest) -> shadow.AuditResult:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        return await self._node.audit_endpoint(namespace, name, body.audit)

    async def audit_namespace(self, request: web.Request, body: shadow.AuditRequest) -> shadow.AuditResult:
        return await self._node.audit_namespace(request.match_info["namespace"], body.audit)

    async def audit_node(self, request: web.Request, body: shadow.AuditRequest) -> shadow.NodeAuditResult:
        return await self._node.audit_node(body.audit)

    async def proxies(self, request: web.Request) -> proxy.Proxies:
        return await self._node.proxies()

    async def hooks(self, request: web.Request) -> tuple[hook.Hook, ...]:
        return await self._node.hooks()

    async def load_hook(self, request: web.Request, body: hook.HookObject) -> hook.Hook:
        return await self._node.load_hook(request.match_info["name"], body)

    async def unload_hook(self, request: web.Request) -> None:
        await self._node.unload_hook(request.match_info["name"])

    async def reload(self, request: web.Request, body: reload.ReloadRequest) -> reload.ReloadResult:
        return await self._node.reload(body)

    async def explanation(self, request: web.Request) -> insight.Explanation:
        query = request.query
        if missing := {"from", "to"} - query.keys():
            raise refuse(400, f"the parameter {min(missing)!r} is missing")
        port = query.get("port")
        if port is not None and not _PORT.match(port):
            raise refuse(400, f"port {port!r} is no number up to 65535")
        return await self._node.explanation(
            query["from"],
            query["to"],
            query.get("protocol", "TCP"),
            None if port is None else int(port),
            (query.get("method"), query.get("path")),
        )

    async def findings(self, request: web.Request) -> tuple[insight.PolicyFinding, ...]:
        return await self._node.findings()

    async def verdicts(self, request: web.Request) -> tuple[insight.VerdictRow, ...]:
        return await self._node.verdicts()

    async def addresses(self, request: web.Request) -> tuple[address.Address, ...]:
        return await self._node.addresses()

    async def names(self, request: web.Request) -> naming.Names:
        return await self._node.names(request.query.get("match"))

    async def learn_name(self, request: web.Request, body: naming.NameAnswer) -> naming.Names:
        return await self._node.learn_name(request.match_info["name"], body)

    async def forget_name(self, request: web.Request) -> naming.NamesForgotten:
        return await self._node.forget_name(request.match_info["name"])

    async def forget_names(self, request: web.Request) -> naming.NamesForgotten:
        return await self._node.forget_names()

    async def identities(self, request: web.Request) -> tuple[types.Identity, ...]:
        return await self._node.identities()

    async def rules(self, request: web.Request) -> tuple[types.Rule, ...]:
        return await self._node.rules()

    async def maps(self, request: web.Request) -> tuple[types.MapSummary, ...]:
        return await self._node.maps()

    async def map_rows(self, request: web.Request) -> types.MapRows:
        limit = request.query.get("limit")
        if limit is not None and not _LIMIT.match(limit):
            raise refuse(400, f"limit {limit!r} is no number from 1 to 999999999")
        return await self._node.map_rows(request.match_info["name"], int(limit) if limit else None)

    async def events(self, request: web.Request) -> web.StreamResponse:
        unknown = set(request.query) - {parameter.name for parameter in EVENT_PARAMETERS}
        if unknown:
            raise refuse(400, f"unknown parameter {min(unknown)!r}")
        subscription = self._node.subscribe(dict(request.query))
        try:
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            await response.prepare(request)
            while request.transport is not None and not request.transport.is_closing():
                try:
                    events = await asyncio.wait_for(subscription.read(), _STREAM_CHECK)
                except TimeoutError:
                    continue
                if not events:
                    break
                await response.write(b"".join(self._event.dump_json(event) + b"\n" for event in events))
        except ConnectionResetError:
            pass  # the watcher has gone meanwhile
        finally:
            subscription.close()
        return response

    async def openapi(self, request: web.Request) -> web.Response:
        if self._openapi is None:
            self._openapi = json.dumps(document()).encode()
        return web.Response(body=self._openapi, content_type=_JSON)


def _require_json(request: web.Request) -> None:
    """A body that says it is something else is refused; one that does not say is taken for JSON."""
    if "Content-Type" in request.headers and request.content_type != _JSON:
        raise refuse(415, f"the content type is {request.content_type!r}; send {_JSON}")


def _validated(adapter: TypeAdapter[Any], body: bytes) -> Any:
    try:
        return adapter.validate_json(body, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise refuse(
            400, f"the request is not what the API takes: {first['msg']}", path=path or None
        ) from error


def _policy_key(request: web.Request) -> tuple[str, str, str]:
    kind, namespace, name = (request.match_info[part] for part in ("kind", "namespace", "name"))
    return kind, "" if namespace == "-" else namespace, name


def _flag(request: web.Request, name: str) -> bool:
    value = request.query.get(name, "0")
    if value not in ("0", "1", "true", "false"):
        raise refuse(400, f"{name} {value!r} is neither 0 nor 1")
    return value in ("1", "true")
