"""Proxies, and the sets of rules about content that they serve, as they travel over the socket."""

from dataclasses import dataclass
from typing import Any, ClassVar

_PLAIN: dict[str, Any] = {"use_attribute_docstrings": True}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A process that lets content through or not."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    name: str
    """`envoy` (HTTP and TLS) or `dns`."""
    pid: int | None
    """Null: it does not run. One that no policy needs is not started."""
    version: str | None
    problem: str | None
    """Why it does not run, or does not answer."""
    starts: int
    """How often this agent has started it."""


@dataclass(frozen=True, slots=True)
class ProxyListener:
    """A set of rules about content: flows that they are about are sent to its port."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    port: int
    """Of the loopback addresses."""
    kind: str
    """`http`, `dns` or `tls`."""
    rules: tuple[str, ...]
    policies: tuple[str, ...]
    """Those that ask for it, which whoever is refused is told."""
    endpoints: int
    """Endpoints with a rule set that sends flows here."""
    flows: int
    """Flows of clients that are led here and are open."""
    leaving: bool
    """No rule set sends flows here any more; it goes with its last flow."""
    requests: int | None = None
    """Requests, questions or connections, since the proxy was started. None: it does not answer."""
    denied: int | None = None
    p50_milliseconds: float | None = None
    """From a request to its answer. Envoy counts whole ones: 0 is less than one."""
    p99_milliseconds: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request that a proxy refused, or let through although a header mismatched."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    kind: str
    """`http`, `dns` or `tls`."""
    method: str = ""
    path: str = ""
    host: str = ""
    """The host that was asked; of DNS and TLS, the name."""
    status: int | None = None
    """What an HTTP client was answered."""
    milliseconds: float | None = None
    """From the request to the end of its answer."""
    why: str = ""
    """More of the reason, where there is more to say."""
    policies: tuple[str, ...] = ()
    """Those that ask for the rules it was judged by."""


@dataclass(frozen=True, slots=True)
class Proxies:
    """How flows get to proxies, the proxies, and what they serve."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    redirect: str
    """`sk_assign`, `tproxy`, `nat` or `sockmap`; `none`: not at all."""
    proxies: tuple[Proxy, ...]
    listeners: tuple[ProxyListener, ...]
    redirect_remark: str = ""
    """Why it is not the one that was asked for."""
