"""What a node's operator decides about the datapath, once per start."""

from dataclasses import dataclass, field
from pathlib import Path

from kinety.model.address import Prefix
from kinety.plan.change import Capacity

#: Host-side interfaces are called this and their slot.
INTERFACE_PREFIX = "kinety"


#: What programs are told when they are loaded, and what a reload may change therefore. The rest stays
#: as it was at the start.
RELOADABLE = frozenset({"ipv4", "ipv6", "event_level"})


@dataclass(frozen=True, slots=True)
class Settings:
    """Facts that do not change while a datapath is open, but for those that are ``RELOADABLE``.

    ``pins`` is a directory of Kinety's own; a bpffs is mounted there when it is on none. Endpoint
    number ``slot`` has the host-side interface index ``interface_base + slot``. ``pools`` are the
    prefixes endpoint addresses come from: what leaves them for elsewhere is masqueraded, when
    ``masquerade`` is set. ``clsact_only`` keeps endpoints on clsact filters instead of tcx links.
    ``spare_rule_sets`` empty tables (2.4 KiB each) are held ready, so that a policy is published without
    a grace period.
    """

    pins: Path
    interface_base: int = 65536
    capacity: Capacity = field(default_factory=Capacity)
    conntrack: int = 131072
    ipv4: bool = True
    ipv6: bool = True
    #: 0: drops and verdict changes only; 1: and new flows.
    event_level: int = 1
    clsact_only: bool = False
    pools: tuple[Prefix, ...] = ()
    masquerade: bool = True
    mtu: int = 1500
    spare_rule_sets: int = 1024
