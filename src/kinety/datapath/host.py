"""The node itself: its row, and what judges its packets while a policy selects it."""

from collections.abc import Mapping

from kinety.kernel.map import Map
from kinety.kernel.tcp import TcpSockets
from kinety.model.identity import Identity, ReservedIdentity
from kinety.plan.change import EndpointPlan

from .endpoint_table import HOST_SLOT, EndpointTable
from .host_programs import HostPrograms
from .open_flows import enter
from .rule_sets import RuleSets
from .settings import Settings

_IDENTITY = Identity(ReservedIdentity.HOST)
#: Its plan while no policy selects it.
UNSELECTED = EndpointPlan(_IDENTITY, None, None, _IDENTITY, _IDENTITY)


class Host:
    """Row 0 and its programs. The programs come when the row is complete, and go before it ends."""

    def __init__(
        self,
        settings: Settings,
        table: EndpointTable,
        rule_sets: RuleSets,
        conntrack: Map,
        programs: HostPrograms,
    ) -> None:
        self._table = table
        self._rule_sets = rule_sets
        self._conntrack = conntrack
        self._settings = settings
        self.programs = programs
        #: What is in force.
        self.plan = UNSELECTED

    @property
    def writes(self) -> int:
        """Links made or removed since this object was made; the table counts what it stores."""
        return self.programs.writes

    def require(self) -> None:
        """Raise UnsupportedError when this kernel cannot judge the node's packets."""
        self.programs.require(self._settings)

    def publish(self, plan: EndpointPlan) -> None:
        """Flip the row; in force for the next packet when it returns. Raises OSError."""
        if not plan.judges:
            self.programs.detach()
        self._table.identify(HOST_SLOT, plan.ipv4, plan.ipv6)
        in_force, beside = self._rule_sets.pointers(plan)
        self._table.publish(HOST_SLOT, *in_force, beside)
        self.plan = plan
        self._judge()

    def begin(self, plan: EndpointPlan | None) -> Mapping[int, EndpointPlan]:
        """Take up what a former agent left: the row that is to be made to hold the plan, by its slot.

        ``settle`` must follow when it does.
        """
        self.plan = plan or UNSELECTED
        if self.plan.judges:
            return {HOST_SLOT: self.plan}
        self.programs.detach()
        self._table.clear(HOST_SLOT)
        return {}

    def settle(self) -> None:
        """Have the packets judged by the row, which holds the plan. Raises OSError."""
        self._judge()

    def use(self, settings: Settings) -> None:
        """Judge by programs with other settings from now on. Raises OSError; ``use`` the former ones then."""
        self._settings = settings
        self.programs.reread()
        self._judge()

    def close(self) -> None:
        """Let go of the programs; what is attached stays."""
        self.programs.close()

    def _judge(self) -> None:
        if not self.plan.judges:
            return
        if not self.programs.attached:
            enter(self._conntrack, TcpSockets.here().connections)
        self.programs.attach(self._settings)
