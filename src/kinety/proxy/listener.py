"""A listener: one set of rules about content, at one port of the loopback addresses."""

from dataclasses import dataclass

from kinety.model.layer7 import Layer7


@dataclass(frozen=True, slots=True)
class Listener:
    """What a proxy is to serve at a TCP port (of DNS, a UDP port as well), on 127.0.0.1 and ::1."""

    port: int
    layer7: Layer7
