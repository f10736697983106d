"""What was asked for an endpoint at run time, beside what policy and addresses are about."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from kinety.api import types
from kinety.api.errors import refuse
from kinety.datapath.interface import PLAIN, Shape
from kinety.model.bandwidth import Bandwidth, Rate
from kinety.model.endpoint import Endpoint
from kinety.model.host_port import HostPort

_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}\Z")
_GROUP_BIT = 1
_RATES = ("egress", "ingress")


@dataclass(frozen=True, slots=True)
class Wishes:
    """``shape`` is of its interface."""

    host_ports: tuple[HostPort, ...] = ()
    shape: Shape = PLAIN

    @classmethod
    def of(cls, request: types.EndpointRequest) -> Self:
        """Those of a request. Raises ApiError."""
        mac = None if request.mac is None else _mac(request.mac)
        return cls(_host_ports(request), Shape(request.mtu, mac, _bandwidth(request.bandwidth)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``str`` wrote."""
        found: Mapping[str, Any] = json.loads(text)
        rates = {name: Rate(*found[name]) for name in _RATES if name in found}
        mac = bytes.fromhex(found["mac"]) if "mac" in found else None
        return cls(
            tuple(map(HostPort.parse, found.get("host_ports", ()))),
            Shape(found.get("mtu"), mac, Bandwidth(**rates)),
        )

    def __str__(self) -> str:
        said: dict[str, Any] = {}
        if self.host_ports:
            said["host_ports"] = list(map(str, self.host_ports))
        if self.shape.mtu is not None:
            said["mtu"] = self.shape.mtu
        if self.shape.mac is not None:
            said["mac"] = self.shape.mac.hex()
        for name in _RATES:
            rate: Rate | None = getattr(self.shape.bandwidth, name)
            if rate is not None:
                said[name] = rate.bits, rate.burst
        return json.dumps(said, separators=(",", ":"))


def refuse_limited(records: Iterable[tuple[Endpoint, Wishes]]) -> None:
    """Raise ValueError when an endpoint has a bandwidth, which it would lose silently."""
    for endpoint, wishes in records:
        if wishes.shape.bandwidth != Bandwidth():
            message = f"with --no-bandwidth endpoint {endpoint} would be as fast as it can"
            raise ValueError(f"{message}; detach it first, or start with --bandwidth")


def _host_ports(request: types.EndpointRequest) -> tuple[HostPort, ...]:
    found: dict[tuple[int, int], list[HostPort]] = {}
    for text in request.host_ports:
        try:
            port = HostPort.parse(text)
        except ValueError as error:
            raise refuse(400, str(error), path="host_ports") from error
        others = found.setdefault((port.protocol, port.port), [])
        for other in others:
            if port != other and port.clashes(other):
                raise refuse(400, f"host ports {other} and {port} are one port", path="host_ports")
        if port not in others:
            others.append(port)
    return tuple(port for ports in found.values() for port in ports)


def _bandwidth(asked: types.Bandwidth | None) -> Bandwidth:
    found: dict[str, Rate] = {}
    for name in _RATES if asked else ():
        rate, burst = getattr(asked, f"{name}_rate"), getattr(asked, f"{name}_burst")
        if not rate and not burst:
            continue
        try:
            found[name] = Rate.of(rate, burst)
        except ValueError as error:
            raise refuse(400, f"{name}: {error}", path=f"bandwidth.{name}_rate") from error
    return Bandwidth(**found)


def _mac(text: str) -> bytes:
    if not _MAC.match(text):
        raise refuse(400, f"{text!r} is no MAC address, as 02:00:00:00:00:01 is one", path="mac")
    mac = bytes.fromhex(re.sub("[:-]", "", text))
    if mac[0] & _GROUP_BIT or not any(mac):
        raise refuse(400, f"{text} is not the MAC address of a single interface", path="mac")
    return mac
