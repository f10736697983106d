"""Every request the agent answers, in one table: the server serves it and OpenAPI describes it."""

from dataclasses import dataclass
from typing import Any

from kinety.api import address, hook, insight, naming, overview, proxy, reload, shadow, types

#: Refusals that any request can meet, with what they mean.
REFUSALS = {
    400: "the request is wrong",
    404: "there is no such thing",
    409: "it conflicts with what there is",
    413: "the body is larger than 4 MiB",
    415: "the content type is another than application/json",
    500: "the agent failed; its log says where",
    503: "the kernel refused, or a container runtime does not answer; state is unchanged",
    507: "no room in a map of the datapath or in an address pool",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter. ``kind`` is its JSON type."""

    name: str
    kind: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Route:
    """One request. ``operation`` names the handler; ``answer`` None means an empty body (204)."""

    method: str
    path: str
    operation: str
    summary: str
    answer: Any = None
    request: Any = None
    parameters: tuple[Parameter, ...] = ()
    refusals: tuple[int, ...] = ()
    success: int = 200
    media_type: str = "application/json"


_DRY_RUN = Parameter("dry_run", "boolean", "`1`: check, and say what would change, without applying it")
_WHO = "`namespace/name` or `name` of an endpoint, labels with commas between, an address, `host` or `world`"
_LIMIT = Parameter("limit", "integer", "at most this many rows")
EVENT_PARAMETERS = (
    Parameter(
        "kind", "string", "only these, with commas between: drop, new-flow, verdict-change, shadow, request"
    ),
    Parameter("endpoint", "string", "only flows of this endpoint, at either end: `namespace/name` or `name`"),
    Parameter("direction", "string", "only `egress` or `ingress`"),
    Parameter("verdict", "string", "only `allow`, `deny` or `redirect`"),
    Parameter("protocol", "string", "only this protocol: TCP, UDP, ICMP, ICMPv6 or a number"),
    Parameter("port", "integer", "only flows with this port at either end"),
    Parameter("address", "string", "only flows with this address at either end"),
)

ROUTES = (
    Route("GET", "/v1/status", "status", "The agent at a glance", overview.Status),
    Route("GET", "/v1/endpoints", "endpoints", "Every endpoint", tuple[types.Endpoint, ...]),
    Route(
        "POST",
        "/v1/endpoints",
        "attach",
        "Give a network namespace its interface; answered when its policy is in force",
        types.Endpoint,
        types.EndpointRequest,
        refusals=(400, 409, 413, 415, 503, 507),
        success=201,
    ),
    Route(
        "GET",
        "/v1/endpoints/{namespace}/{name}",
        "endpoint",
        "One endpoint",
        types.Endpoint,
        refusals=(404,),
    ),
    Route(
        "DELETE",
        "/v1/endpoints/{namespace}/{name}",
        "detach",
        "Take an endpoint's interface away",
        refusals=(404, 503),
        success=204,
    ),
    Route(
        "GET",
        "/v1/attachments",
        "attachments",
        "Endpoints that a container runtime asked for",
        tuple[types.Endpoint, ...],
        parameters=(Parameter("network", "string", "only those of this network"),),
    ),
    Route(
        "GET",
        "/v1/attachments/{container}/{interface}",
        "attachment",
        "A container's interface, compared with what is in its network namespace",
        types.AttachmentState,
        refusals=(404,),
    ),
    Route(
        "DELETE",
        "/v1/attachments/{container}/{interface}",
        "detach_attachment",
        "Take a container's interface away",
        refusals=(404, 503),
        success=204,
    ),
    Route("GET", "/v1/policies", "policies", "Every policy in force", tuple[types.Policy, ...]),
    Route(
        "POST",
        "/v1/policies",
        "apply",
        "Apply policies, all or nothing; answered when they are in force on every endpoint",
        types.PolicyResult,
        types.PolicyDocuments,
        (_DRY_RUN,),
        refusals=(400, 413, 415, 503, 507),
    ),
    Route(
        "GET",
        "/v1/policies/{kind}/{namespace}/{name}",
        "policy",
        "One policy with its text; the namespace of cluster-wide kinds is written `-`",
        types.PolicyText,
        refusals=(404,),
    ),
    Route(
        "DELETE",
        "/v1/policies/{kind}/{namespace}/{name}",
        "delete_policy",
        "Remove a policy; answered when that is in force",
        types.PolicyResult,
        refusals=(404, 503, 507),
    ),
    Route(
        "POST",
        "/v1/policies/{kind}/{namespace}/{name}/promotion",
        "promote",
        "Put a policy into force that is staged or in audit; answered when that is so on every endpoint",
        types.PolicyResult,
        refusals=(400, 404, 503, 507),
    ),
    Route(
        "GET",
        "/v1/shadow",
        "shadow_report",
        "What policies that are staged or in audit would have changed",
        shadow.ShadowReport,
    ),
    Route(
        "PUT",
        "/v1/endpoints/{namespace}/{name}/audit",
        "audit_endpoint",
        "Let an endpoint do everything and only report it, or not any more",
        shadow.AuditResult,
        shadow.AuditRequest,
        refusals=(400, 404, 413, 415, 503, 507),
    ),
    Route(
        "PUT",
        "/v1/namespaces/{namespace}/audit",
        "audit_namespace",
        "The same for every endpoint of a namespace, those to come included",
        shadow.AuditResult,
        shadow.AuditRequest,
        refusals=(400, 413, 415, 503, 507),
    ),
    Route(
        "PUT",
        "/v1/node/audit",
        "audit_node",
        "The same for the node itself",
        shadow.NodeAuditResult,
        shadow.AuditRequest,
        refusals=(400, 409, 413, 415, 503, 507),
    ),
    Route(
        "POST",
        "/v1/datapath/reload",
        "reload",
        "Put other programs under all endpoints; answered when every packet meets them",
        reload.ReloadResult,
        reload.ReloadRequest,
        refusals=(400, 413, 415, 503),
    ),
    Route(
        "GET",
        "/v1/hooks",
        "hooks",
        "The operator's filters behind the verdict, in the order in which they are asked",
        tuple[hook.Hook, ...],
    ),
    Route(
        "PUT",
        "/v1/hooks/{name}",
        "load_hook",
        "Ask filters from the next packet on, in the place of those that have the name",
        hook.Hook,
        hook.HookObject,
        refusals=(400, 413, 415, 503, 507),
    ),
    Route(
        "DELETE",
        "/v1/hooks/{name}",
        "unload_hook",
        "Ask filters no more",
        refusals=(404, 503),
        success=204,
    ),
    Route(
        "GET",
        "/v1/proxies",
        "proxies",
        "The proxies for rules about content, and what they serve",
        proxy.Proxies,
    ),
    Route(
        "GET",
        "/v1/explanation",
        "explanation",
        "Why a flow is let through or not, and what would let it through",
        insight.Explanation,
        parameters=(
            Parameter("from", "string", _WHO),
            Parameter("to", "string", _WHO),
            Parameter("protocol", "string", "TCP, UDP, SCTP, ICMP, ICMPv6 or a number"),
            Parameter("port", "integer", "the receiver's port, or an ICMP type"),
            Parameter("method", "string", "the method of the HTTP request that is asked about"),
            Parameter("path", "string", "its path"),
        ),
        refusals=(400,),
    ),
    Route(
        "GET",
        "/v1/findings",
        "findings",
        "What is odd about the policies in force",
        tuple[insight.PolicyFinding, ...],
    ),
    Route(
        "GET",
        "/v1/verdicts",
        "verdicts",
        "Every verdict: of every endpoint, about everybody, for all protocols and ports",
        tuple[insight.VerdictRow, ...],
    ),
    Route(
        "GET",
        "/v1/addresses",
        "addresses",
        "Every address that an endpoint has, or that nobody gets yet",
        tuple[address.Address, ...],
    ),
    Route(
        "GET",
        "/v1/names",
        "names",
        "What DNS said of names that rules ask for",
        naming.Names,
        parameters=(Parameter("match", "string", "only names of this pattern"),),
        refusals=(400,),
    ),
    Route(
        "PUT",
        "/v1/names/{name}",
        "learn_name",
        "Say it in the place of DNS; answered when rules know the addresses",
        naming.Names,
        naming.NameAnswer,
        refusals=(400, 413, 415, 503),
    ),
    Route(
        "DELETE",
        "/v1/names/{name}",
        "forget_name",
        "Forget the addresses of a name, as if they had expired and nobody talked to them",
        naming.NamesForgotten,
        refusals=(400, 404, 503),
    ),
    Route(
        "DELETE", "/v1/names", "forget_names", "Forget all of them", naming.NamesForgotten, refusals=(503,)
    ),
    Route("GET", "/v1/identities", "identities", "Identities and their labels", tuple[types.Identity, ...]),
    Route("GET", "/v1/rules", "rules", "Rules in force and what they decided", tuple[types.Rule, ...]),
    Route(
        "GET",
        "/v1/events",
        "events",
        "Events as they happen, one JSON object a line, from the moment the answer's head arrives",
        types.Event,
        parameters=EVENT_PARAMETERS,
        refusals=(400,),
        media_type="application/x-ndjson",
    ),
    Route("GET", "/v1/maps", "maps", "The maps of the datapath", tuple[types.MapSummary, ...]),
    Route(
        "GET",
        "/v1/maps/{name}",
        "map_rows",
        "Rows of one map, decoded",
        types.MapRows,
        parameters=(_LIMIT,),
        refusals=(400, 404),
    ),
)
