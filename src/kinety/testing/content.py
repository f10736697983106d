"""What a probe says beyond address and port: an HTTP request, a DNS question, a TLS server name."""

from dataclasses import dataclass
from typing import Any, ClassVar

#: Where name servers listen (IANA).
DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request without a body. ``host`` None: the address that it goes to."""

    REFUSAL: ClassVar[str] = "http-403"
    PROTOCOLS: ClassVar[tuple[str, ...]] = ("TCP",)
    method: str = "GET"
    path: str = "/"
    host: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def value(self) -> dict[str, Any]:
        """As a JSON value: what a scenario says."""
        return {
            "method": self.method,
            "path": self.path,
            "host": self.host,
            "headers": dict(self.headers),
        }


@dataclass(frozen=True, slots=True)
class DnsQuestion:
    """A question for the addresses of a name, of the family that it is asked in."""

    REFUSAL: ClassVar[str] = "dns-refused"
    PROTOCOLS: ClassVar[tuple[str, ...]] = ("UDP", "TCP")
    name: str

    def __str__(self) -> str:
        return self.name

    def value(self) -> dict[str, Any]:
        """As a JSON value: what a scenario says."""
        return {"name": self.name}


@dataclass(frozen=True, slots=True)
class TlsHello:
    """A TLS handshake that names the server."""

    REFUSAL: ClassVar[str] = "reset"
    PROTOCOLS: ClassVar[tuple[str, ...]] = ("TCP",)
    server_name: str

    def __str__(self) -> str:
        return self.server_name

    def value(self) -> dict[str, Any]:
        """As a JSON value: what a scenario says."""
        return {"serverName": self.server_name}


Content = HttpRequest | DnsQuestion | TlsHello
#: Outcomes that only content can have, and the field it is written in.
REFUSALS = {HttpRequest.REFUSAL: "http", DnsQuestion.REFUSAL: "dns", TlsHello.REFUSAL: "tls"}
