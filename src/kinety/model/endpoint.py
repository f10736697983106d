"""Endpoints: the container interfaces that Kinety serves."""

from dataclasses import dataclass
from typing import NewType, Self

from kinety.model.label import PORT, Label, Labels

EndpointId = NewType("EndpointId", int)
#: The node itself, in places where an endpoint's number stands; endpoints are counted from 1.
HOST = EndpointId(0)

#: IP protocol numbers (IANA) of those that have ports.
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}


@dataclass(frozen=True, slots=True, order=True)
class Listen:
    """A port of an endpoint's under a name, which policies may call it by. ``protocol`` is IANA's number."""

    name: str
    protocol: int
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``name=port/protocol``. Raises ValueError."""
        name, equals, value = text.partition("=")
        port, _, protocol = value.partition("/")
        if not name or not equals or not port.isascii() or not port.isdecimal():
            raise ValueError(f"{text!r} is no port with a name; write name=port/protocol, as in http=80/TCP")
        if not 0 < int(port) < 65536:
            raise ValueError(f"{text!r}: {port} is not a port; write 1 to 65535")
        if (protocol or "TCP") not in PROTOCOLS:
            known = ", ".join(PROTOCOLS)
            raise ValueError(f"{text!r}: {protocol!r} is no protocol with ports; write one of {known}")
        return cls(name, PROTOCOLS[protocol or "TCP"], int(port))

    @classmethod
    def of(cls, label: Label) -> Self:
        """The port that a label of the source ``port`` tells of. Raises ValueError."""
        return cls.parse(f"{label.key}={label.value}")

    @property
    def label(self) -> Label:
        """What endpoints with this port are told by."""
        return Label(PORT, self.name, f"{self.port}/{PROTOCOL_NAMES[self.protocol]}")

    def __str__(self) -> str:
        return f"{self.name}={self.port}/{PROTOCOL_NAMES[self.protocol]}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One container interface. ``labels`` includes the namespace's; addresses are 16 bytes or None.

    ``audit``: everything may pass, and it is only told what its policies would not have allowed.
    """

    id: EndpointId
    namespace: str
    name: str
    labels: Labels
    ipv4: bytes | None
    ipv6: bytes | None
    listens: frozenset[Listen] = frozenset()
    audit: bool = False

    @property
    def all_labels(self) -> Labels:
        """Its labels, and those that tell of its named ports."""
        return self.labels | {each.label for each in self.listens} if self.listens else self.labels

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
