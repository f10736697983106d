"""What the kernel must hold, and the difference from what it held before.

The fields of a Change are in the order in which they must be applied. Every step up to
``endpoints`` adds something nobody uses yet (make before break); ``endpoints`` is the flip;
everything after it removes what nobody uses any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NewType

from kinety.identity.named_prefix import Outside
from kinety.model.address import Prefix
from kinety.model.endpoint import EndpointId
from kinety.model.identity import ClassId, Identity
from kinety.model.label import Labels
from kinety.model.layer7 import Layer7, Layer7Id
from kinety.model.rule import Rule, RuleId
from kinety.model.verdict import RuleSet, RuleSetKey, Verdict

#: Hexadecimal content address of a rule set: equal for subjects that share it, stable over restarts.
RuleSetId = NewType("RuleSetId", str)


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """What an endpoint's row points at. A rule set of None means no policy: everything is allowed.

    ``identity`` is that of the endpoint's labels. To others it is ``ipv4`` or ``ipv6``, by the family of a
    flow: another identity where a block of addresses that rules name holds only the one address.

    ``shadow_egress`` and ``shadow_ingress`` are judged beside, and only told of; None means nothing is.
    """

    identity: Identity
    egress: RuleSetId | None
    ingress: RuleSetId | None
    ipv4: Identity
    ipv6: Identity
    shadow_egress: RuleSetId | None = None
    shadow_ingress: RuleSetId | None = None

    @property
    def rule_sets(self) -> tuple[RuleSetId | None, RuleSetId | None, RuleSetId | None, RuleSetId | None]:
        """Egress, ingress, and those judged beside, in the same order."""
        return self.egress, self.ingress, self.shadow_egress, self.shadow_ingress

    @property
    def judges(self) -> bool:
        """Whether any policy has a say, be it only to be told of."""
        return any(each is not None for each in self.rule_sets)


@dataclass(frozen=True, slots=True)
class Change:
    """One step of the plan, ordered make before break."""

    rules: Mapping[RuleId, Rule] = field(default_factory=dict)
    #: Content that rule sets are about to redirect to.
    layer7_sets: Mapping[Layer7Id, Layer7] = field(default_factory=dict)
    rule_sets: Mapping[RuleSetId, RuleSet] = field(default_factory=dict)
    #: Rows to add to live rule sets, for classes that no identity is in yet.
    rows: Mapping[RuleSetId, Mapping[RuleSetKey, Verdict]] = field(default_factory=dict)
    identity_classes: Mapping[Identity, ClassId] = field(default_factory=dict)
    ipcache: Mapping[Prefix, Identity] = field(default_factory=dict)
    #: The flip: rule sets, or only a new epoch (a row that is equal to the old one). Before any
    #: endpoint's rule sets, all endpoints' identities: new rule sets may know no other.
    endpoints: Mapping[EndpointId, EndpointPlan] = field(default_factory=dict)
    #: The node's own flip; None when it stays as it is.
    host: EndpointPlan | None = None
    endpoints_removed: frozenset[EndpointId] = frozenset()
    ipcache_removed: frozenset[Prefix] = frozenset()
    identities_removed: frozenset[Identity] = frozenset()
    rows_removed: Mapping[RuleSetId, frozenset[RuleSetKey]] = field(default_factory=dict)
    rule_sets_removed: frozenset[RuleSetId] = frozenset()
    layer7_sets_removed: frozenset[Layer7Id] = frozenset()
    rules_removed: frozenset[RuleId] = frozenset()
    #: Rules that are in another mode now: what shadow tables said by them is no longer of interest.
    rules_turned: frozenset[RuleId] = frozenset()
    #: Not for the kernel: numbers to remember over a restart, and those to forget.
    identities: Mapping[Identity, Labels] = field(default_factory=dict)
    outside: Mapping[Identity, Outside] = field(default_factory=dict)
    rule_names: Mapping[RuleId, str] = field(default_factory=dict)
    identities_freed: frozenset[Identity] = frozenset()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole plan: what an empty kernel would have to be given."""

    rules: Mapping[RuleId, Rule]
    rule_sets: Mapping[RuleSetId, RuleSet]
    identity_classes: Mapping[Identity, ClassId]
    ipcache: Mapping[Prefix, Identity]
    endpoints: Mapping[EndpointId, EndpointPlan]
    layer7_sets: Mapping[Layer7Id, Layer7] = field(default_factory=dict)
    #: The node's own; None while no policy selects the node.
    host: EndpointPlan | None = None


@dataclass(frozen=True, slots=True)
class Capacity:
    """Rows each map can hold; a change that needs more is refused before anything is written.

    ``rows`` are those of each ``rule_set``. ``rules`` are those of ``rule_counters``, of which row 0 is
    the default verdict's.
    """

    endpoints: int = 4096
    rule_sets: int = 8192
    rows: int = 65536
    identity_classes: int = 131072
    ipcache_hosts: int = 131072
    ipcache_prefixes: int = 65536
    rules: int = 65536


class CapacityError(Exception):
    """A change would overflow a map, or a range of numbers (``kind``). Nothing was changed."""

    def __init__(self, map_name: str, needed: int, available: int, *, kind: str = "map") -> None:
        super().__init__(
            f"{kind} {map_name} would need {needed} entries and has room for {available}; nothing was applied"
        )
        self.map_name = map_name
        self.needed = needed
        self.available = available
