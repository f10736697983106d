"""The shape of scenario documents; what the fields mean is settled where they are read."""

from typing import Any, ClassVar

from pydantic import Field

from kinety.policy.schema import Model
from kinety.testing.scenario import DEFAULT_NAMESPACE


class ListenEntry(Model):
    """One item of an endpoint's listens."""

    port: int
    protocol: str = "TCP"
    name: str | None = None


class EndpointEntry(Model):
    """One item of endpoints."""

    name: str
    namespace: str = DEFAULT_NAMESPACE
    labels: dict[str, str] = Field(default_factory=dict)
    addresses: list[str] = Field(default_factory=list)
    listens: list[ListenEntry] = Field(default_factory=list)


class HttpEntry(Model):
    """A probe's http."""

    method: str = "GET"
    path: str = "/"
    host: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)


class DnsEntry(Model):
    """A probe's dns."""

    name: str


class TlsEntry(Model):
    """A probe's tls."""

    serverName: str


class ProbeEntry(Model):
    """One item of probes."""

    source: str = Field(alias="from")
    to: str
    port: int | None = None
    protocol: str | None = None
    family: int | None = None
    http: HttpEntry | None = None
    dns: DnsEntry | None = None
    tls: TlsEntry | None = None
    expect: str


class ScenarioDocument(Model):
    """A whole scenario."""

    LATER: ClassVar[dict[str, str]] = {"services": "write Service objects under policies"}
    apiVersion: str
    kind: str
    name: str | None = None
    namespaces: dict[str, dict[str, str]] = Field(default_factory=dict)
    endpoints: list[EndpointEntry]
    policies: list[Any] = Field(default_factory=list)
    names: dict[str, list[str]] = Field(default_factory=dict)
    node: dict[str, str] = Field(default_factory=dict)
    probes: list[ProbeEntry]
