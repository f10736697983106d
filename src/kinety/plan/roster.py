"""The roster: endpoints of this node, whose each address is, and the subjects that they are."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from pyroaring import BitMap

from kinety.identity.journal import Journal
from kinety.identity.registry import Registry
from kinety.model.address import Prefix, unpack_address
from kinety.model.endpoint import HOST as HOST_ENDPOINT
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.identity import Identity, ReservedIdentity
from kinety.model.label import Labels
from kinety.model.rule import Direction
from kinety.plan.change import EndpointPlan
from kinety.plan.live_blocks import LiveBlocks
from kinety.plan.managed_addresses import ManagedAddresses
from kinety.plan.rule_book import Numbered, PolicyName, RuleBook
from kinety.plan.subject import Subject, Tables

#: Subjects whose rules may have changed, and in which directions.
Stale = dict[Identity, set[Direction]]

HOST = Identity(ReservedIdentity.HOST)


class Roster:
    """Who is on this node. Subjects come with the first endpoint of their labels."""

    def __init__(self, journal: Journal, registry: Registry, book: RuleBook, blocks: LiveBlocks) -> None:
        self._journal = journal
        self._registry = registry
        self._book = book
        self._managed = ManagedAddresses(journal, registry, blocks)
        self._endpoints: dict[EndpointId, Endpoint] = {}
        self._addresses: dict[bytes, EndpointId] = {}
        self._subjects: dict[Identity, Subject] = {}
        self._subject_of: dict[EndpointId, Subject] = {}
        #: Endpoints by number; a live view.
        self.endpoints: Mapping[EndpointId, Endpoint] = MappingProxyType(self._endpoints)
        #: Subjects by identity, the node's included once its labels were told; a live view.
        self.subjects: Mapping[Identity, Subject] = MappingProxyType(self._subjects)
        #: Identities that are subjects; read-only.
        self.local = BitMap()
        #: Whether policies about the node are only told of.
        self.host_audit = False
        #: Whether this change made it so, or not any more.
        self.host_moved = False

    def __len__(self) -> int:
        """How many endpoints there are."""
        return len(self._endpoints)

    # Questions

    def plan(self, endpoint: EndpointId) -> EndpointPlan:
        """What an endpoint's row points at. Raises KeyError."""
        own, other = self._endpoints[endpoint], self._managed.other
        return self._subject_of[endpoint].plan(other(own.ipv4), other(own.ipv6), audit=own.audit)

    def pointers(self, endpoint: EndpointId) -> tuple[Tables, Tables]:
        """Tables that an endpoint obeys, or the node, and those that are only told of. Raises KeyError."""
        if endpoint == HOST_ENDPOINT:
            return self._subjects[HOST].pointers(audit=self.host_audit)
        return self._subject_of[endpoint].pointers(audit=self._endpoints[endpoint].audit)

    def host_plan(self) -> EndpointPlan | None:
        """What the node's own row points at; None when nobody told its labels."""
        subject = self._subjects.get(HOST)
        return None if subject is None else subject.plan(audit=self.host_audit)

    def identity(self, packed: bytes) -> Identity | None:
        """Who an endpoint's address is to others; None for any other address."""
        return self._managed.identity(Prefix(packed, 128))

    # A change

    def begin(self) -> None:
        """A change begins."""
        self._managed.begin()
        self.host_moved = False

    def update(
        self, endpoints: Mapping[EndpointId, Endpoint | None], stale: Stale
    ) -> tuple[set[EndpointId], set[EndpointId]]:
        """Take endpoints in and out. Returns those with a new identity, and those that are gone."""
        moved: set[EndpointId] = set()
        removed: set[EndpointId] = set()
        known = {key: self._endpoints.get(key) for key in endpoints}
        fresh = {key: each for key, each in endpoints.items() if each != known[key]}
        for key in fresh:
            for address in _addresses(known[key]):
                self._journal.pop(self._addresses, address)
                self._managed.remove(Prefix(address, 128))
        for key, endpoint in fresh.items():
            former = known[key]
            for address in _addresses(endpoint):
                self._own(address, key, endpoint)
            if endpoint is None:
                self._journal.pop(self._endpoints, key)
                removed.add(key)
            else:
                self._journal.put(self._endpoints, key, endpoint)
            stays = endpoint is not None and former is not None and endpoint.all_labels == former.all_labels
            if endpoint is not None:
                identity = self._subject_of[key].identity if stays else self._join(key, endpoint.all_labels)
                for address in _addresses(endpoint):
                    self._managed.put(Prefix(address, 128), identity)
            if stays:
                if endpoint is not None and former is not None and endpoint.audit != former.audit:
                    moved.add(key)
                continue
            if endpoint is not None:
                stale[identity] = set(Direction)
                moved.add(key)
            if former is not None:
                stale[self._leave(key, former.all_labels)] = set(Direction)
        return moved, removed

    def update_host(self, labels: Labels | None, audit: bool | None, stale: Stale) -> None:
        """The node is a subject of its own, once its labels were told: of rules with a nodeSelector."""
        if audit is not None and audit != self.host_audit:
            self._journal.did(setattr, self, "host_audit", self.host_audit)
            self.host_audit, self.host_moved = audit, True
        if labels is None:
            return
        policies = self._book.selecting(self._registry[HOST])
        subject = self._subjects.get(HOST)
        if subject is None:
            self._journal.put(self._subjects, HOST, Subject(HOST, policies=policies))
            self.local.add(HOST)
            self._journal.did(self.local.discard, HOST)
        else:
            self._journal.did(setattr, subject, "policies", subject.policies)
            subject.policies = policies
        stale[HOST] = set(Direction)

    def put_part(self, subject: Subject, name: PolicyName, part: Numbered) -> None:
        """Of a policy, these rules select a subject."""
        if part:
            self._journal.put(subject.policies, name, part)
        elif name in subject.policies:
            self._journal.pop(subject.policies, name)

    def end(self, subject: Subject) -> None:
        """A subject without endpoints is none any more."""
        self._journal.pop(self._subjects, subject.identity)
        self.local.discard(subject.identity)
        self._journal.did(self.local.add, subject.identity)

    def settle(self) -> set[EndpointId]:
        """Give addresses the labels of the blocks around them. Returns endpoints that are others for it."""
        owners = (self._addresses.get(prefix.packed) for prefix in self._managed.settle())
        return {owner for owner in owners if owner is not None}

    def _own(self, address: bytes, key: EndpointId, endpoint: Endpoint | None) -> None:
        owner = self._addresses.get(address)
        if owner is not None:
            raise ValueError(
                f"endpoint {endpoint}: address {unpack_address(address)} is already that of"
                f" {self._endpoints[owner]}"
            )
        self._journal.put(self._addresses, address, key)

    def _join(self, key: EndpointId, labels: Labels) -> Identity:
        """An endpoint becomes one of the subject with these labels."""
        identity = self._registry.hold(labels)
        subject = self._subjects.get(identity)
        if subject is None:
            subject = Subject(identity, policies=self._book.selecting(labels))
            self._journal.put(self._subjects, identity, subject)
            self.local.add(identity)
            self._journal.did(self.local.discard, identity)
        subject.endpoints.add(key)
        self._journal.did(subject.endpoints.discard, key)
        self._journal.put(self._subject_of, key, subject)
        return identity

    def _leave(self, key: EndpointId, labels: Labels) -> Identity:
        identity = self._registry.find(labels)
        assert identity is not None
        subject = self._subjects[identity]
        subject.endpoints.discard(key)
        self._journal.did(subject.endpoints.add, key)
        if self._subject_of[key] is subject:  # it did not join another
            self._journal.pop(self._subject_of, key)
        self._registry.release(identity)
        return identity


def _addresses(endpoint: Endpoint | None) -> Iterable[bytes]:
    if endpoint is None:
        return ()
    return (address for address in (endpoint.ipv4, endpoint.ipv6) if address is not None)
