"""What was asked for an endpoint at run time, beside what policy and addresses are about."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from kinety.api.errors import refuse
from kinety.api.types import EndpointRequest
from kinety.model.host_port import HostPort

_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}\Z")
_GROUP_BIT = 1


@dataclass(frozen=True, slots=True)
class Wishes:
    """``mac`` is of the interface inside, 6 bytes; None: whatever."""

    host_ports: tuple[HostPort, ...] = ()
    mac: bytes | None = None

    @classmethod
    def of(cls, request: EndpointRequest) -> Self:
        """Those of a request. Raises ApiError."""
        return cls(_host_ports(request), None if request.mac is None else _mac(request.mac))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``str`` wrote."""
        found: Mapping[str, Any] = json.loads(text)
        return cls(
            tuple(map(HostPort.parse, found.get("host_ports", ()))),
            bytes.fromhex(found["mac"]) if "mac" in found else None,
        )

    def __str__(self) -> str:
        said: dict[str, Any] = {}
        if self.host_ports:
            said["host_ports"] = list(map(str, self.host_ports))
        if self.mac is not None:
            said["mac"] = self.mac.hex()
        return json.dumps(said, separators=(",", ":"))


def _host_ports(request: EndpointRequest) -> tuple[HostPort, ...]:
    found: list[HostPort] = []
    for text in request.host_ports:
        try:
            port = HostPort.parse(text)
        except ValueError as error:
            raise refuse(400, str(error), path="host_ports") from error
        for other in found:
            if port != other and port.clashes(other):
                raise refuse(400, f"host ports {other} and {port} are one port", path="host_ports")
        if port not in found:
            found.append(port)
    return tuple(found)


def _mac(text: str) -> bytes:
    if not _MAC.match(text):
        raise refuse(400, f"{text!r} is no MAC address, as 02:00:00:00:00:01 is one", path="mac")
    mac = bytes.fromhex(re.sub("[:-]", "", text))
    if mac[0] & _GROUP_BIT or not any(mac):
        raise refuse(400, f"{text} is not the MAC address of a single interface", path="mac")
    return mac
