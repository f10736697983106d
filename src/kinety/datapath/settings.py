"""What a node's operator decides about the datapath, once per start, and what a reload may change."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from kinety.abi import EventLevel, Redirect
from kinety.model.address import Prefix
from kinety.plan.change import Capacity

#: Host-side interfaces are called this and their slot.
INTERFACE_PREFIX = "kinety"


@dataclass(frozen=True, slots=True)
class Switch:
    """A setting that programs are told when they are loaded, so a reload may tell them otherwise.

    ``values`` are those of the setting ``field``, by what operators call them.
    """

    field: str
    values: Mapping[bool | str, int]


_ON_OFF: Mapping[bool | str, int] = {True: True, False: False}
#: By the name that operators know; a new one has its line here, and in ``node_constants``.
SWITCHES: Mapping[str, Switch] = {
    "ipv4": Switch("ipv4", _ON_OFF),
    "ipv6": Switch("ipv6", _ON_OFF),
    "events": Switch("event_level", {each.name.lower(): each for each in EventLevel}),
    "shadow": Switch("shadow", _ON_OFF),
    "fragments": Switch("fragments", _ON_OFF),
    "hooks": Switch("hooks", _ON_OFF),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Facts that do not change while a datapath is open, but for those that have a switch.

    ``pins`` is a directory of Kinety's own; a bpffs is mounted there when it is on none. Endpoint
    number ``slot`` has the host-side interface index ``interface_base + slot``. ``pools`` are the
    prefixes endpoint addresses come from: what leaves them for elsewhere is masqueraded, when
    ``masquerade`` is set. ``clsact_only`` keeps endpoints on clsact filters instead of tcx links.
    ``spare_rule_sets`` empty tables (2.4 KiB each) are held ready, so that a policy is published without
    a grace period. Without ``shadow`` no shadow rule set is asked, without ``fragments`` they are
    dropped, without ``hooks`` filters of the node's operator cannot be loaded, without ``bandwidth``
    endpoints have none. ``mtu`` is that of endpoints' interfaces, in bytes; None: of the node's uplinks, at
    the time that an endpoint comes. ``redirect`` is how flows come to the listeners of proxies, who speak to
    servers from ``proxy_source_ports``, the first and the last of them; ``redirect_remark`` says why it is
    not the one that was asked for.
    """

    pins: Path
    interface_base: int = 65536
    capacity: Capacity = field(default_factory=Capacity)
    conntrack: int = 131072
    ipv4: bool = True
    ipv6: bool = True
    event_level: EventLevel = EventLevel.FLOWS
    shadow: bool = True
    fragments: bool = True
    hooks: bool = True
    bandwidth: bool = True
    clsact_only: bool = False
    pools: tuple[Prefix, ...] = ()
    masquerade: bool = True
    mtu: int | None = None
    spare_rule_sets: int = 1024
    redirect: Redirect = Redirect.SK_ASSIGN
    redirect_remark: str = ""
    proxy_source_ports: tuple[int, int] = (61000, 65535)

    def switched(self, names: Mapping[str, bool | str]) -> Self:
        """The same with these switches in another position. Raises KeyError for what is none."""
        switches = {name: SWITCHES[name] for name in names}
        changes: dict[str, Any] = {
            switch.field: switch.values[names[name]] for name, switch in switches.items()
        }
        return replace(self, **changes)

    def switches(self) -> dict[str, Any]:
        """The position of every switch."""
        return {
            name: next(
                position for position, value in each.values.items() if value == getattr(self, each.field)
            )
            for name, each in SWITCHES.items()
        }
