"""Endpoints: the container interfaces that Kinety serves."""

from dataclasses import dataclass
from typing import NewType

from kinety.model.label import Labels

EndpointId = NewType("EndpointId", int)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One container interface. ``labels`` includes the namespace's; addresses are 16 bytes or None."""

    id: EndpointId
    namespace: str
    name: str
    labels: Labels
    ipv4: bytes | None
    ipv6: bytes | None

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
