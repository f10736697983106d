"""The door to the datapath: apply a plan, attach endpoints, look at what the kernel holds."""

import contextlib
import functools
import time
from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Self

from kinety import abi
from kinety.abi import EventLevel
from kinety.kernel import bpffs
from kinety.kernel.namespace import Namespace
from kinety.model.endpoint import HOST, Endpoint, EndpointId
from kinety.model.layer7 import Layer7Id
from kinety.model.rule import Direction, RuleId
from kinety.plan.change import Capacity, Change, EndpointPlan, RuleSetId, Snapshot

from . import node
from .address_maps import Ipcache, LocalAddresses
from .attachments import Attachments
from .dump import NAMES, dump
from .endpoint_table import EndpointTable
from .hook_slots import hook_slots
from .host import Host
from .host_ports import HostPorts
from .host_programs import HostPrograms
from .identity_classes import IdentityClasses
from .interface import PLAIN, Interface, Shape, Wiring
from .live_flows import LiveFlows
from .node_state import NodeState
from .observation import Counters, EventReader
from .promotion import Links
from .rates import Rates
from .redirection import Redirection
from .reload import Reload, require_reloadable
from .restoration import Restoration
from .rule_sets import NO_PORTS, RuleSets
from .settings import Settings
from .shadow_counters import ShadowCounters, obsolete_after
from .statistics import Statistics, map_statistics, program_statistics
from .template import Template, contract_directory


class Datapath:
    """The kernel's side of one node. One caller at a time, in the node's network namespace."""

    def __init__(self, settings: Settings, template: Template) -> None:
        """Use ``open``."""
        maps = template.maps
        programs = template.programs
        self._settings = settings
        self._template = template
        self._wiring = Wiring(settings, programs)
        self._node_state = NodeState(maps["node_state"])
        self._table = EndpointTable(maps["endpoints"], self._node_state, maps["endpoints"].info.max_entries)
        self._addresses = LocalAddresses(maps["local_addresses"])
        self._ipcache = Ipcache(maps["ipcache_hosts"], maps["ipcache_prefixes"], self._node_state)
        self._classes = IdentityClasses(maps["identity_classes"])
        self._rule_sets = RuleSets(
            maps["rule_sets"],
            template.inner_rule_set,
            maps["rule_sets"].info.max_entries,
            settings.spare_rule_sets,
        )
        self._links = Links(contract_directory(settings.pins) / "links", programs)
        self._counters = Counters(maps["counters"], maps["rule_counters"])
        self._shadows = ShadowCounters(maps.get("shadow_counters"), maps.get("lost_shadows"))
        #: The operator's filters behind the verdict.
        self.hooks = hook_slots(maps, self._node_state, contract_directory(settings.pins) / "hooks")
        #: Ports of the node that lead to endpoints.
        self.host_ports = HostPorts()
        #: How fast endpoints may send and receive.
        self.rates = Rates(maps.get("rates"))
        self._attachments = Attachments(
            settings, self._table, self._addresses, self._wiring, self._links, self.rates
        )
        #: Flows that are open.
        self.flows = LiveFlows(maps["conntrack"])
        #: The node itself.
        host_programs = HostPrograms(contract_directory(settings.pins) / "host", maps)
        self.host = Host(settings, self._table, self._rule_sets, maps["conntrack"], host_programs)
        self._redirection = Redirection(settings, contract_directory(settings.pins) / "proxy", maps)
        self._plans: dict[EndpointId, EndpointPlan] = {}
        self._restored = False
        self._node_writes = 0

    @classmethod
    def open(cls, settings: Settings, elf: bytes | None = None) -> Self:
        """Load the programs and maps, or adopt those a former agent left; set up the node.

        ``elf`` replaces the packaged programs. ``restore`` must follow. Raises OSError when the
        kernel refuses, ValueError when what is pinned does not fit (both numbers in the message).
        """
        settings.pins.mkdir(parents=True, exist_ok=True)
        if not bpffs.mounted(settings.pins):
            bpffs.mount(settings.pins)
        template = Template.open(settings, elf)
        try:
            datapath = cls(settings, template)
        except BaseException:
            template.close()
            raise
        try:
            datapath._take_over()
            datapath._set_up_node()
        except BaseException:
            datapath.close()
            raise
        return datapath

    def _set_up_node(self) -> None:
        settings = self._settings
        self._node_writes += node.enable_forwarding(settings.ipv4, settings.ipv6)
        if settings.masquerade and settings.pools:
            self._node_writes += node.masquerade(settings.pools)
        else:
            self._node_writes += node.remove_masquerade()

    @property
    def capacity(self) -> Capacity:
        """Rows the real maps have room for: what the engine checks a change against."""
        return self._template.capacity

    # -- the plan ------------------------------------------------------------------------------

    def apply(self, change: Change, ports: Mapping[Layer7Id, int] = NO_PORTS) -> None:
        """Take one step of the plan; returns when it is in force for the next packet.

        ``ports`` are listeners' by what they let pass: what the change redirects to another is dropped.
        A plan for an endpoint that is not attached (yet) is kept and published by ``attach``.
        Raises CapacityError before anything is written, or OSError: then ``restore`` mends.
        """
        if not self._restored:
            raise RuntimeError("the datapath was not restored yet")
        self._redirection.serve(ports, self._attachments)
        self._rule_sets.publish(change.rule_sets, self._table.rule_set_slots, ports)
        self._rule_sets.add_rows(change.rows, ports)
        self._classes.update(change.identity_classes)
        self._ipcache.update(change.ipcache)
        obsolete = obsolete_after(change, ChainMap({HOST: self.host.plan}, self._plans))
        self._plans.update(change.endpoints)
        self._publish(change.endpoints)
        if change.host is not None:
            self.host.publish(change.host)
        for endpoint in change.endpoints_removed:
            self._plans.pop(endpoint, None)
            if interface := self._attachments.get(endpoint):
                self._table.disarm(interface.slot)
        self._ipcache.remove(change.ipcache_removed)
        self._classes.remove(change.identities_removed)
        self._rule_sets.remove_rows(change.rows_removed)
        self._rule_sets.retire(change.rule_sets_removed)
        self._counters.reset(change.rules_removed)
        self._shadows.forget(obsolete)

    def restore(
        self,
        snapshot: Snapshot,
        endpoints: Collection[EndpointId],
        ports: Mapping[Layer7Id, int] = NO_PORTS,
    ) -> Restoration:
        """Make the kernel hold the whole plan, writing only differences; after ``open`` or a failure.

        ``endpoints`` are those the store knows. Interfaces and rows of others are removed, as are those of
        an attach that was cut short. Conntrack is never touched. ``ports`` as in ``apply``.
        """
        before = self._writes()
        removed = self._attachments.restore(endpoints)
        self._redirection.serve(ports, self._attachments)
        self._restore_maps(snapshot, ports)
        self._plans = dict(snapshot.endpoints)
        self._shadows.keep({**snapshot.endpoints, HOST: self.host.plan}, snapshot.rules.keys())
        self._restored = True
        return Restoration(
            missing=frozenset(endpoints) - {each.endpoint for each in self._attachments},
            removed=removed,
            writes=self._writes() - before,
        )

    def _publish(self, plans: Mapping[EndpointId, EndpointPlan]) -> None:
        """Flip endpoints that are attached. All get their identities before any gets its rule sets."""
        rows = [
            (interface.slot, plan)
            for endpoint, plan in plans.items()
            if (interface := self._attachments.get(endpoint))
        ]
        for slot, plan in rows:
            self._table.identify(slot, plan.ipv4, plan.ipv6)
        for slot, plan in rows:
            in_force, beside = self._rule_sets.pointers(plan)
            self._table.publish(slot, *in_force, beside)

    def _restore_maps(self, snapshot: Snapshot, ports: Mapping[Layer7Id, int]) -> None:
        """The same order as ``apply``: add, flip, remove."""
        pointers: dict[RuleSetId, list[int]] = {}
        plans = {
            interface.slot: snapshot.endpoints[interface.endpoint]
            for interface in self._attachments
            if interface.endpoint in snapshot.endpoints
        }
        plans |= self.host.begin(snapshot.host)
        for slot, plan in plans.items():
            row = self._table.row(slot)
            for rule_set, held in zip(plan.rule_sets, row.rule_set + row.shadow_rule_set, strict=True):
                if rule_set is not None:
                    pointers.setdefault(rule_set, []).append(held)
        self._rule_sets.adopt(snapshot.rule_sets, pointers, ports)
        self._rule_sets.publish(snapshot.rule_sets, self._table.rule_set_slots, ports)
        stale_classes = self._classes.write_differences(snapshot.identity_classes)
        stale_addresses = self._ipcache.write_differences(snapshot.ipcache)
        for slot, plan in plans.items():
            self._table.identify(slot, plan.ipv4, plan.ipv6)
        for slot, plan in plans.items():
            row, wanted = self._table.row(slot), self._rule_sets.pointers(plan)
            if not self._table.ready(slot) or (row.rule_set, row.shadow_rule_set) != wanted:
                self._table.publish(slot, *wanted[0], wanted[1])
        self.host.settle()
        self._ipcache.erase(stale_addresses)
        self._classes.remove(stale_classes)

    # -- the programs --------------------------------------------------------------------------

    def _take_over(self) -> None:
        """Move live endpoints from a former version's programs to this one's, then forget those."""
        if self._template.superseded():
            self._attachments.replace_programs(self._template.programs)
            self._template.forget_superseded()

    def reload(self, settings: Settings, elf: bytes | None = None) -> Reload:
        """Judge all endpoints by programs of another object or with other constants, or go on as before.

        ``elf`` is the object in force when it is None. Each packet meets the old programs or the new ones,
        over the same maps. Raises ValueError for an object that does not fit and for settings that have
        no switch, OSError when the kernel refuses; PutBackError when it refused to go back, too, and
        then ``restore`` mends.
        """
        require_reloadable(self._settings, settings)
        former = self._template
        before = program_statistics(former.programs)
        fresh = former.successor(settings, former.elf if elf is None else elf)
        if fresh is None:
            return Reload(False, former.version, settings, before, before, 0, 0.0, 0.0)
        started = time.perf_counter()
        try:
            self._node_writes += node.enable_forwarding(settings.ipv4, settings.ipv6)
            self.host.use(settings)
            moved = self._attachments.replace_programs(fresh.programs)
        except BaseException:
            with contextlib.suppress(OSError):  # what it was; a restart mends it otherwise
                self.host.use(self._settings)
            fresh.discard()
            raise
        seconds = time.perf_counter() - started
        self._settings, self._template = settings, fresh
        self.hooks.enabled = settings.hooks
        former.close_programs()
        with contextlib.suppress(OSError):  # the next reload or start forgets them
            fresh.forget_superseded()
        after = program_statistics(fresh.programs)
        return Reload(True, fresh.version, settings, before, after, moved, fresh.load_seconds, seconds)

    @property
    def settings(self) -> Settings:
        """What is in force."""
        return self._settings

    # -- endpoints -----------------------------------------------------------------------------

    def attach(
        self, endpoint: Endpoint, namespace: Namespace, interface: str = "eth0", shape: Shape = PLAIN
    ) -> Interface:
        """Give a network namespace its interface; it drops everything until a plan is applied.

        So: ``attach``, then ``apply`` the engine's change for the new endpoint. Undoes itself on
        failure. Raises OSError, CapacityError (no free slot) or ValueError (already attached, or an
        address is another endpoint's).
        """
        attached = self._attachments.attach(endpoint, namespace, interface, shape)
        self._redirection.admit(attached)
        if plan := self._plans.get(endpoint.id):
            self._publish({endpoint.id: plan})
        return attached

    def detach(self, endpoint: EndpointId) -> bool:
        """Remove an endpoint's interface and row; False when it had none."""
        return self._attachments.detach(endpoint)

    def interface(self, endpoint: EndpointId) -> Interface | None:
        """Facts of an attached endpoint."""
        return self._attachments.get(endpoint)

    def vanished(self) -> frozenset[EndpointId]:
        """Endpoints whose interface went away with their network namespace: ``detach`` them."""
        return self._attachments.vanished()

    # -- background ----------------------------------------------------------------------------

    def maintain(self) -> bool:
        """Do one piece of background work (refill rule sets, end connections, promote one endpoint to tcx).

        Takes up to about 30 ms. True when there may be more: ``linger``, and again when nothing else waits.
        """
        refilling = self._rule_sets.begin_refill(self._table.rule_set_slots())
        return refilling or self.host_ports.end_departed() or self._attachments.promote_one()

    def linger(self) -> None:
        """Wait for what ``maintain`` began. On any thread: other methods may be called meanwhile."""
        self._rule_sets.wait_refill()

    @property
    def hurried(self) -> bool:
        """Whether background work should not wait long: half of the spare rule sets are used up."""
        return self._rule_sets.low

    # -- looking -------------------------------------------------------------------------------

    @functools.cached_property
    def _event_reader(self) -> EventReader | None:
        maps = self._template.maps
        return EventReader(maps["events"], maps["lost_events"]) if "events" in maps else None

    def event_source(self) -> EventReader | None:
        """The events of the programs; its ``fileno()`` becomes readable. None when they tell of none."""
        return None if self._settings.event_level is EventLevel.NONE else self._event_reader

    def counters(self) -> Mapping[tuple[abi.Reason, Direction], abi.Counter]:
        """Packets and bytes by reason and direction, those that are not zero."""
        return self._counters.by_reason()

    def rule_counters(self, rules: Iterable[RuleId]) -> Mapping[RuleId, abi.Counter]:
        """Packets and bytes each rule decided; rule 0 is the default verdict."""
        return self._counters.by_rule(rules)

    def shadow_counters(self) -> Mapping[abi.ShadowKey, abi.ShadowCounter]:
        """Flows about which shadow rule sets disagree, those of former runs included."""
        return self._shadows.rows()

    def shadows_lost(self) -> int:
        """Packets about which a shadow rule set disagreed, and that were not counted for want of room."""
        return self._shadows.lost()

    def map_names(self) -> tuple[str, ...]:
        """Names that ``dump`` accepts: of maps that this node has."""
        return tuple(name for name in NAMES if name in self._template.maps)

    def dump(self, name: str, limit: int | None = None) -> list[dict[str, Any]]:
        """Rows of a map, decoded into JSON values. Raises KeyError for an unknown name."""
        return dump(name, self._template.maps, self._rule_sets, limit)

    def statistics(self) -> Statistics:
        """What was loaded and what it holds."""
        template = self._template
        return Statistics(
            adopted=template.adopted,
            load_seconds=template.load_seconds,
            contract=abi.CONTRACT_HASH,
            version=template.version,
            programs=program_statistics(template.programs) + self.host.programs.statistics(),
            maps=map_statistics(template.maps),
            endpoints=len(self._attachments),
            endpoints_ready=sum(self._table.ready(each.slot) for each in self._attachments),
            endpoints_promoted=len(self._links),
            tcx=self._attachments.tcx,
            rule_sets=len(self._rule_sets),
            rule_sets_spare=self._rule_sets.spare,
            rule_sets_retired=self._rule_sets.retired,
            events_lost=self._event_reader.lost() if self._event_reader else 0,
            writes=self._writes(),
        )

    def _writes(self) -> int:
        owners = (
            self._node_state,
            self._table,
            self._addresses,
            self._ipcache,
            self._classes,
            self._rule_sets,
            self._links,
            self._wiring,
            self._counters,
            self._shadows,
            self.hooks,
            self.host,
            self.host_ports,
            self.rates,
            self._redirection,
        )
        return self._node_writes + sum(owner.writes for owner in owners)

    def close(self) -> None:
        """Let go of file descriptors and shared memory; the kernel keeps forwarding."""
        if reader := self.__dict__.get("_event_reader"):
            reader.close()
        self._table.close()
        self._node_state.close()
        self._wiring.close()
        self.host.close()
        self._template.close()
