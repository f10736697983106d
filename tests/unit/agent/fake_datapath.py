"""A datapath of values: holds what it is told, and refuses when it is told to."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from kinety import abi
from kinety.datapath.hook_slots import Hook
from kinety.datapath.host import UNSELECTED
from kinety.datapath.host_programs import UnsupportedError
from kinety.datapath.interface import PLAIN, Interface, Shape
from kinety.datapath.live_flows import LiveFlow
from kinety.datapath.reload import Reload
from kinety.datapath.restoration import Restoration
from kinety.datapath.rule_sets import NO_PORTS
from kinety.datapath.settings import Settings
from kinety.datapath.statistics import MapStatistics, ProgramStatistics, Statistics
from kinety.kernel.namespace import Namespace
from kinety.kernel.program import VerifierRefusal
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.host_port import HostPort
from kinety.model.layer7 import Layer7Id
from kinety.model.rule import Direction, RuleId
from kinety.model.verdict import RuleSet
from kinety.plan.change import Capacity, Change, Snapshot

#: The steps of an apply, in their order.
STEPS = ("rule_sets", "rows", "identity_classes", "ipcache", "endpoints", "removal")


class FakeHooks:
    """The operator's filters: whatever is called an object is one, but ``b"refused"`` and ``b"wrong"``."""

    def __init__(self) -> None:
        self.held: dict[str, Hook] = {}

    def names(self) -> Mapping[int, str]:
        return {each.slot: name for name, each in self.held.items()}

    def all(self) -> tuple[Hook, ...]:
        return tuple(self.held.values())

    def load(self, name: str, elf: bytes) -> Hook:
        if elf == b"wrong":
            raise ValueError("there is no filter in it")
        if elf == b"refused":
            refusal = VerifierRefusal(13, "load program f: Permission denied", "line 1\nline 2")
            refusal.add_note("verifier: line 2")
            raise refusal
        program = ProgramStatistics("f", 9, "abcd", 14, 21, 102)
        counter = abi.Counter(packets=2, bytes=120)
        slot = self.held[name].slot if name in self.held else len(self.held)
        way = Direction.EGRESS
        self.held[name] = Hook(name, slot, {way: program}, {way: counter}, ("seen",), Path("/pins"))
        return self.held[name]

    def unload(self, name: str) -> bool:
        return self.held.pop(name, None) is not None


class FakeHost:
    """``kinety.datapath.Host``, on a kernel that can judge the node's packets, or cannot."""

    def __init__(self) -> None:
        self.plan = UNSELECTED
        self.programs = self
        self.refusal: UnsupportedError | None = None

    @property
    def attached(self) -> bool:
        return self.plan.judges

    def require(self) -> None:
        if self.refusal is not None:
            raise self.refusal


class FakeHostPorts:
    """Host ports by endpoint, and the host side that they lead to."""

    def __init__(self) -> None:
        self.held: dict[EndpointId, tuple[HostPort, ...]] = {}
        self.interfaces: dict[EndpointId, str] = {}
        #: Whether the next change is refused.
        self.failing = False

    def publish(self, endpoint: Endpoint, ports: Sequence[HostPort], interface: str) -> None:
        self._step()
        if ports:
            self.held[endpoint.id] = tuple(ports)
            self.interfaces[endpoint.id] = interface

    def withdraw(self, endpoint: Endpoint, ports: Sequence[HostPort]) -> None:
        self._step()
        assert self.held.pop(endpoint.id, ()) == tuple(ports)

    def restore(self, published: Iterable[tuple[Endpoint, Sequence[HostPort]]]) -> None:
        self._step()
        self.held = {endpoint.id: tuple(ports) for endpoint, ports in published if ports}

    def _step(self) -> None:
        if self.failing:
            self.failing = False
            raise OSError(12, "no memory for host ports")


class FakeRates:
    """As if everybody with a bandwidth had been too fast, three times."""

    def dropped(self, slot: int) -> int:
        return 3


class FakeFlows:
    """``kinety.datapath.live_flows.LiveFlows``."""

    def __init__(self) -> None:
        self.open: list[LiveFlow] = []
        #: Whom somebody talks to, and how many flows go through each listener's port.
        self.talking: frozenset[bytes] = frozenset()
        self.busy: dict[int, int] = {}

    def of(self, addresses: Set[bytes]) -> Mapping[LiveFlow, int]:
        return Counter(each for each in self.open if addresses & {each.source, each.destination})

    def addresses(self, among: Set[bytes]) -> frozenset[bytes]:
        return self.talking & among

    def ports(self) -> Mapping[int, int]:
        return self.busy

    led = ports


class FakeDatapath:
    """The parts of ``kinety.datapath.Datapath`` that the agent uses."""

    capacity = Capacity()
    settings = Settings(Path("/nowhere"))
    hurried = False

    def __init__(self) -> None:
        self.tables: dict[Any, dict[Any, Any]] = {}
        self.classes: dict[Any, Any] = {}
        self.ipcache: dict[Any, Any] = {}
        self.plans: dict[EndpointId, Any] = {}
        self.interfaces: dict[EndpointId, Interface] = {}
        self.gone: set[EndpointId] = set()
        self.restored = 0
        #: The step of an apply that fails the next time, or "attach", "detach", "restore".
        self.failing: str | None = None
        self.attached: list[EndpointId] = []
        self.hooks = FakeHooks()
        self.host = FakeHost()
        self.host_ports = FakeHostPorts()
        self.rates = FakeRates()
        self.settings = Settings(Path("/pins"))
        #: What reloads were asked for, and what the next one is refused with.
        self.asked: list[tuple[Settings, bytes | None]] = []
        self.refusal: Exception | None = None
        #: Ports of listeners.
        self.ports: dict[Layer7Id, int] = {}
        self.flows = FakeFlows()
        self.shadows: dict[abi.ShadowKey, abi.ShadowCounter] = {}

    def held(self) -> Snapshot:
        """What the kernel would hold."""
        tables = {name: RuleSet(dict(rows)) for name, rows in self.tables.items()}
        host = self.host.plan if self.host.plan.judges else None
        return Snapshot({}, tables, dict(self.classes), dict(self.ipcache), dict(self.plans), host=host)

    def _step(self, name: str) -> None:
        if self.failing == name:
            self.failing = None
            raise OSError(12, f"no memory for {name}")

    def apply(self, change: Change, ports: Mapping[Layer7Id, int] = NO_PORTS) -> None:
        self._step("rule_sets")
        self.ports = dict(ports) or self.ports
        self.tables.update({name: dict(table.rows) for name, table in change.rule_sets.items()})
        self._step("rows")
        for name, rows in change.rows.items():
            self.tables[name].update(rows)
        self._step("identity_classes")
        self.classes.update(change.identity_classes)
        self._step("ipcache")
        self.ipcache.update(change.ipcache)
        self._step("endpoints")
        self.plans.update(change.endpoints)
        self.host.plan = change.host or self.host.plan
        for endpoint in change.endpoints_removed:
            self.plans.pop(endpoint, None)
        self._step("removal")
        for prefix in change.ipcache_removed:
            del self.ipcache[prefix]
        for identity in change.identities_removed:
            del self.classes[identity]
        for name, keys in change.rows_removed.items():
            for key in keys:
                del self.tables[name][key]
        for name in change.rule_sets_removed:
            del self.tables[name]

    def restore(
        self, snapshot: Snapshot, endpoints: Collection[EndpointId], ports: Mapping[Layer7Id, int]
    ) -> Restoration:
        self._step("restore")
        self.ports = dict(ports)
        self.restored += 1
        self.tables = {name: dict(table.rows) for name, table in snapshot.rule_sets.items()}
        self.classes, self.ipcache = dict(snapshot.identity_classes), dict(snapshot.ipcache)
        self.plans = dict(snapshot.endpoints)
        self.host.plan = snapshot.host or UNSELECTED
        for endpoint in self.interfaces.keys() - set(endpoints):
            del self.interfaces[endpoint]
        return Restoration(frozenset(endpoints) - self.interfaces.keys(), (), 1)

    def attach(
        self, endpoint: Endpoint, namespace: Namespace, interface: str = "eth0", shape: Shape = PLAIN
    ) -> Interface:
        self._step("attach")
        number = len(self.attached)
        facts = f"kinety{number}", b"h" * 6, shape.mac or b"c" * 6, shape.mtu or 1500
        made = Interface(endpoint.id, number, 65536 + number, *facts)
        self.attached.append(endpoint.id)
        self.interfaces[endpoint.id] = made
        return made

    def detach(self, endpoint: EndpointId) -> bool:
        self._step("detach")
        self.gone.discard(endpoint)
        return self.interfaces.pop(endpoint, None) is not None

    def interface(self, endpoint: EndpointId) -> Interface | None:
        return self.interfaces.get(endpoint)

    def vanished(self) -> frozenset[EndpointId]:
        return frozenset(self.gone)

    def map_names(self) -> tuple[str, ...]:
        return ("endpoints", "counters")

    def dump(self, name: str, limit: int | None = None) -> list[dict[str, Any]]:
        if name not in self.map_names():
            raise KeyError(name)
        return [{"slot": each.slot} for each in self.interfaces.values()][:limit]

    def counters(self) -> Mapping[tuple[abi.Reason, Direction], abi.Counter]:
        return {(abi.Reason.POLICY_DENIED, Direction.INGRESS): abi.Counter(packets=7, bytes=420)}

    def rule_counters(self, rules: Collection[RuleId]) -> Mapping[RuleId, abi.Counter]:
        return {RuleId(2): abi.Counter(packets=3, bytes=180)} if 2 in rules else {}

    def shadow_counters(self) -> Mapping[abi.ShadowKey, abi.ShadowCounter]:
        return self.shadows

    def shadows_lost(self) -> int:
        return 4

    def reload(self, settings: Settings, elf: bytes | None) -> Reload:
        self.asked.append((settings, elf))
        if self.refusal is not None:
            error, self.refusal = self.refusal, None
            raise error
        changed = settings != self.settings or elf is not None
        self.settings = settings
        programs = self.statistics().programs
        return Reload(
            changed, "fedcba9876543210", settings, programs, programs, len(self.interfaces), 0.1, 0.2
        )

    def statistics(self) -> Statistics:
        return Statistics(
            adopted=False,
            load_seconds=0.2,
            contract=abi.CONTRACT_HASH,
            version="0123456789abcdef",
            programs=(ProgramStatistics("from_endpoint", 5, "abcd", 3000, 14000, 12000),),
            maps=(
                MapStatistics("endpoints", 7, "array", 4096, 1),
                MapStatistics("events", 8, "ringbuf", 4096, 1),
            ),
            endpoints=len(self.interfaces),
            endpoints_ready=len(self.interfaces),
            endpoints_promoted=0,
            tcx=True,
            rule_sets=len(self.tables),
            rule_sets_spare=8,
            rule_sets_retired=0,
            events_lost=0,
            writes=42,
        )
