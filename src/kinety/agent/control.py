"""Engine, store and datapath, changed together: endpoints, policies, and what becomes of them.

Runs on the worker thread, one call at a time. Every change is a step (`kinety.agent.step`). Removing an
endpoint is the exception: it is never taken back, because its interface may be gone already.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from kinety.agent import severance, unjudged
from kinety.agent.address_book import AddressBook
from kinety.agent.declaration import Declaration, ParsedFile, invariants, removal
from kinety.agent.directory import Directory
from kinety.agent.policy_change import PolicyChange, Rehearsed, outcomes_of
from kinety.agent.proxies import detour
from kinety.agent.proxies.proxies import Proxies
from kinety.agent.recovery import recover
from kinety.agent.repair import Repair
from kinety.agent.step import Steps
from kinety.agent.store import EndpointRecord, Store
from kinety.agent.unjudged import NODE
from kinety.api.errors import refuse
from kinety.datapath.datapath import Datapath
from kinety.datapath.reload import Reload
from kinety.datapath.replacement import PutBackError
from kinety.datapath.settings import Settings
from kinety.explain.proof import require
from kinety.kernel.namespace import Namespace
from kinety.model.endpoint import EndpointId
from kinety.model.invariant import Invariant
from kinety.model.label import Labels
from kinety.model.rule import Policy, PolicyKey
from kinety.plan.change import Change
from kinety.plan.engine import Engine
from kinety.plan.fact import (
    EndpointRemoved,
    EndpointUpserted,
    Fact,
    HostAddressesChanged,
    NamesLearnt,
    NodeAudited,
    NodeLabelsChanged,
)

log = logging.getLogger(__name__)


class Control:
    """Engine, store and datapath, changed together."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        datapath: Datapath,
        directory: Directory,
        addresses: AddressBook,
        proxies: Proxies,
    ) -> None:
        self.engine = engine
        self.store = store
        self.datapath = datapath
        self.directory = directory
        self.addresses = addresses
        self.proxies = proxies
        self.endpoints: dict[tuple[str, str], EndpointRecord] = {}
        self.declarations: dict[PolicyKey, Declaration] = {}
        self._invariants: dict[PolicyKey, Invariant] = {}
        #: Endpoints in audit by namespace and name, and namespaces, with an empty name.
        self.audited: frozenset[tuple[str, str]] = frozenset()
        self.repair = Repair(self._restore)
        self._steps = Steps(engine, store, datapath, directory, proxies, self.repair)
        self._missing: frozenset[EndpointId] = frozenset()

    def start(
        self,
        files: Iterable[ParsedFile],
        host_addresses: frozenset[bytes],
        node_labels: Labels = frozenset(),
        names: Iterable[NamesLearnt] = (),
    ) -> None:
        """Take up what the store knows, and make the kernel hold it, writing only differences.

        ``files`` are the store's documents, each with only what is in force by it. ``names``: what DNS said.
        """
        self.audited = self.store.audited()
        for stored in self.store.endpoints():
            record = self._in_its_mode(stored)
            self.endpoints[record.endpoint.namespace, record.endpoint.name] = record
            self.directory.add_endpoint(record.endpoint)
        self.addresses.start(record.endpoint for record in self.endpoints.values())
        for file in files:
            self._declare(file.declarations)
        self.directory.host_addresses = host_addresses
        facts: list[Fact] = [
            HostAddressesChanged(host_addresses),
            NodeLabelsChanged(node_labels),
            NodeAudited(NODE in self.audited),
            *names,
        ]
        facts += [each.fact for each in self.declarations.values() if each.fact is not None]
        facts += [EndpointUpserted(record.endpoint) for record in self.endpoints.values()]
        with self.engine.step(facts, in_force=True) as change, self.store.transaction():
            self.store.write_numbers(change)
            self.proxies.restore(self.engine.snapshot())
        self.directory.change_rules(change.rules, change.rules_removed)
        self.directory.name_hooks(self.datapath.hooks.names())
        self._restore()

    def _restore(self) -> None:
        known = [record.endpoint.id for record in self.endpoints.values()]
        restoration = self.datapath.restore(self.engine.snapshot(), known, self.proxies.ports)
        if restoration.removed:
            log.warning("removed interfaces of no endpoint: %s", ", ".join(restoration.removed))
        published = [(each.endpoint, each.wishes.host_ports) for each in self.endpoints.values()]
        self.datapath.host_ports.restore(published)
        self._missing = restoration.missing
        log.info("the kernel holds the plan after %d writes", restoration.writes)

    @property
    def steps(self) -> int:
        """How often the plan has changed."""
        return self._steps.count

    # Endpoints

    def attach(self, record: EndpointRecord, namespace: Namespace) -> None:
        """Serve a new endpoint; its policy is in force on return.

        Raises CapacityError, ValueError or OSError; then nothing has changed.
        """
        record = self._in_its_mode(record)
        endpoint = record.endpoint

        def realise(change: Change) -> None:
            self.store.put_endpoint(record)
            claim.keep()
            made = self.datapath.attach(endpoint, namespace, record.interface, record.wishes.shape)
            claim.seen = True
            self._steps.apply(change)
            self.datapath.host_ports.publish(endpoint, record.wishes.host_ports, made.name)

        with self.addresses.claim(endpoint) as claim:
            self._steps.take([EndpointUpserted(endpoint)], realise)
        self.endpoints[endpoint.namespace, endpoint.name] = record
        self.directory.add_endpoint(endpoint)

    def detach(self, namespace: str, name: str) -> EndpointRecord:
        """Take an endpoint away.

        Raises ApiError when there is none; OSError or StoreError when kernel or store refuse, and then
        nothing has changed. Once its interface is gone it is not taken back: the maps follow, at the
        latest when they are mended.
        """
        record = self.endpoints.get((namespace, name))
        if record is None:
            raise refuse(404, f"there is no endpoint {namespace}/{name}")
        endpoint = record.endpoint
        self.repair.require()
        with self.store.transaction():
            self.store.delete_endpoint(endpoint.id)
            self.store.put_audit(namespace, name, False)  # it is not for the next one of the name
            released = self.addresses.write_release(endpoint)
            self.datapath.detach(endpoint.id)
        self.addresses.release(endpoint, released)
        self.audited -= {(namespace, name)}
        del self.endpoints[namespace, name]
        self.directory.remove_endpoint(endpoint)
        change = self._steps.taken(self.engine.change([EndpointRemoved(endpoint.id)]))
        with self.repair.guard():
            with self.store.transaction():
                self.store.write_numbers(change)
            self.datapath.apply(change, self.proxies.ports)
            self.datapath.host_ports.withdraw(endpoint, record.wishes.host_ports)
        return record

    def audit(self, namespace: str, name: str, on: bool) -> int:
        """Let an endpoint do everything and only tell of it, or obey its policies again.

        An empty name is every endpoint of the namespace, those to come included; `NODE` is the node. Returns
        how many changed. Raises ApiError when there is no such endpoint; CapacityError or OSError.
        """
        if name and (namespace, name) not in {NODE, *self.endpoints}:
            raise refuse(404, f"there is no endpoint {namespace}/{name}")
        who = unjudged.name_audited(namespace, name)
        if on and not self.datapath.settings.shadow:
            unjudged.refuse_audit(who)
        before, each = self.audited, {(namespace, name)}
        self.audited = before | each if on else before - each
        renewed = {
            key: self._in_its_mode(record) for key, record in self.endpoints.items() if key[0] == namespace
        }
        renewed = {key: record for key, record in renewed.items() if record != self.endpoints[key]}
        more = [NodeAudited(on)] if (namespace, name) == NODE and self.audited != before else []
        try:
            self._renew(renewed.values(), lambda: self.store.put_audit(namespace, name, on), *more)
        except BaseException:
            self.audited = before
            raise
        if on:
            log.warning("%s is in audit: everything may pass, and policies are only reported", who)
        else:
            log.info("%s is in audit no more", who)
        return len(renewed) + len(more)

    def relabel(self, records: Sequence[EndpointRecord]) -> None:
        """Endpoints have other labels; what they may, and others of them, holds from the next packet on.

        Raises CapacityError or OSError; then nothing has changed.
        """

        def write() -> None:
            for record in records:
                self.store.put_labels(record)

        self._renew(records, write)

    def learn(self, facts: Iterable[NamesLearnt], write: Callable[[], None]) -> None:
        """DNS said something, or what it said is over. Raises as `relabel`; ``write`` tells the store."""
        self._renew((), write, *facts)

    def _renew(self, records: Collection[EndpointRecord], write: Callable[[], None], *more: Fact) -> None:
        """Endpoints are as these records say, and ``more`` facts hold; ``write`` tells the store."""

        def realise(change: Change) -> None:
            write()
            self._steps.apply(change)

        self._steps.take([*more, *(EndpointUpserted(record.endpoint) for record in records)], realise)
        for record in records:
            self.endpoints[record.endpoint.namespace, record.endpoint.name] = record
            self.directory.add_endpoint(record.endpoint)

    def _in_its_mode(self, record: EndpointRecord) -> EndpointRecord:
        own = record.endpoint
        audit = not self.audited.isdisjoint({(own.namespace, own.name), (own.namespace, "")})
        return record if audit == own.audit else replace(record, endpoint=replace(own, audit=audit))

    def collect_vanished(self) -> tuple[EndpointRecord, ...]:
        """Deal with endpoints whose interface is gone: give it back, or forget them with their namespace.

        Returns those forgotten.
        """
        if self.repair.pending:
            return ()
        lost = self.datapath.vanished() | self._missing
        self._missing = frozenset()
        # Some that were missing at the start may have been detached since.
        records = [record for record in self.endpoints.values() if record.endpoint.id in lost]
        gone = [record for record in records if not recover(record, self.datapath, self.engine)]
        return tuple(self.detach(each.endpoint.namespace, each.endpoint.name) for each in gone)

    # Policies

    @property
    def policies(self) -> Mapping[PolicyKey, Policy]:
        """Policies that the engine has, those that are only told of included; a live view."""
        return self.engine.policies

    def apply(self, files: Sequence[ParsedFile]) -> PolicyChange:
        """Put policies in force, all or nothing.

        Raises CapacityError, OSError, or PolicyError for what would break an invariant; then nothing changed.
        """
        outcomes = outcomes_of(files, self.declarations)
        unjudged.refuse_files(self.datapath.settings, files)
        unjudged.refuse_about_nodes(self.datapath.host, files)
        changed = {
            key: each
            for file in files
            for key, each in file.declarations.items()
            if outcomes[key] != "unchanged"
        }
        facts = [each.fact for each in changed.values() if each.fact is not None]

        cuts: list[str] = []

        def realise(change: Change) -> None:
            self._require_invariants(changed)
            cuts.extend(self._cuts(change))
            for file in files:
                self.store.put_policies(file.file, file.text, file.declarations)
            self._steps.apply(change)

        change = self._steps.take(facts, realise)
        for file in files:
            self._declare(file.declarations)
        return PolicyChange(outcomes, len(change.endpoints), (*cuts, *self._detours(change)))

    def rehearse(self, files: Sequence[ParsedFile]) -> PolicyChange:
        """What ``apply`` would do; raises what it would raise, and changes nothing."""
        outcomes = outcomes_of(files, self.declarations)
        unjudged.refuse_files(self.datapath.settings, files)
        unjudged.refuse_about_nodes(self.datapath.host, files)
        declared = {key: each for file in files for key, each in file.declarations.items()}
        facts = [each.fact for each in declared.values() if each.fact is not None]
        try:
            with self.engine.step(facts) as change:
                self._require_invariants(declared)
                warnings = (*self._cuts(change), *self._detours(change))
                raise Rehearsed(len(change.endpoints))
        except Rehearsed as rehearsed:
            return PolicyChange(outcomes, rehearsed.endpoints, warnings)

    def delete_policy(self, key: PolicyKey) -> PolicyChange:
        """Put a policy out of force. Raises ApiError when there is none; CapacityError or OSError."""
        if key not in self.declarations:
            raise refuse(404, f"there is no policy {key}")

        removed = removal(key)
        cuts: list[str] = []

        def realise(change: Change) -> None:
            if removed is not None:
                self._require_invariants({})
            cuts.extend(self._cuts(change))
            self.store.delete_policy(key)
            self._steps.apply(change)

        change = self._steps.take([] if removed is None else [removed], realise)
        del self.declarations[key]
        self._invariants.pop(key, None)
        return PolicyChange({key: "deleted"}, len(change.endpoints), (*cuts, *self._detours(change)))

    def _cuts(self, change: Change) -> tuple[str, ...]:
        """What a change cuts of the node's own traffic; asked before it does."""
        return severance.warnings(self.engine, change, self.host_addresses)

    def _detours(self, change: Change) -> tuple[str, ...]:
        """What a change sends through proxies. All flows are looked at, which is not to delay the change."""
        try:
            return detour.warnings(self.engine, change, self.endpoints.values(), self.datapath.flows)
        except OSError as error:
            return (f"it cannot be told which open flows go through a proxy now: {error}",)

    def _require_invariants(self, changed: Mapping[PolicyKey, Declaration]) -> None:
        """Raises PolicyError with a counter-example when the engine, as it is now, breaks an invariant."""
        found = self._invariants | invariants(changed)
        if found:
            require(self.engine, found.values())

    def _declare(self, declarations: Mapping[PolicyKey, Declaration]) -> None:
        self.declarations.update(declarations)
        self._invariants |= invariants(declarations)

    # The node

    @property
    def host_addresses(self) -> frozenset[bytes]:
        """The node's own addresses."""
        return self.directory.host_addresses

    def change_host_addresses(self, addresses: frozenset[bytes]) -> None:
        """The node has other addresses now. Raises CapacityError or OSError; then nothing changed."""
        if addresses != self.host_addresses:
            self._steps.take([HostAddressesChanged(addresses)], self._steps.apply)
            self.directory.host_addresses = addresses

    def reload(self, settings: Settings, elf: bytes | None) -> Reload:
        """Put other programs under all endpoints; see `Datapath.reload` for what it raises.

        Nothing has changed then, or will have when it is mended. Raises ApiError while that is to be done.
        """
        self.repair.require()
        if not settings.shadow:
            unjudged.refuse_held(self.audited, self.declarations.values())
        try:
            done = self.datapath.reload(settings, elf)
        except PutBackError as error:
            self.repair.after(error)
            raise
        if done.changed:
            log.info("programs of version %s judge %d endpoints", done.version, done.interfaces)
        return done

    def settle(self) -> bool:
        """Merge classes that former changes left behind. Whether there was anything to do."""
        if self.repair.pending or not self.engine.unsettled:
            return False
        self._steps.take([], self._steps.apply)
        return True

    def retire_listeners(self) -> bool:
        """Take leave of listeners that nothing points at and no flow uses. Whether some are to be ended."""
        live = self.engine.layer7_sets.keys()
        if self.repair.pending or not self.proxies.leaving(live):
            return False
        with self.store.transaction():
            return self.proxies.retire(live, self.datapath.flows.ports)
