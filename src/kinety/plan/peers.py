"""Workloads elsewhere: whose addresses outside this node are."""

from kinety.identity.journal import Journal
from kinety.identity.registry import Registry
from kinety.model.address import Prefix
from kinety.model.identity import Identity
from kinety.model.label import Labels
from kinety.plan.directory import Directory, listens_of
from kinety.plan.ipcache import Ipcache, Source
from kinety.plan.live_blocks import LiveBlocks
from kinety.plan.managed_addresses import ManagedAddresses


class Peers:
    """Prefixes of workloads that are no endpoints of this node, in identities and in the ipcache."""

    def __init__(
        self, journal: Journal, registry: Registry, ipcache: Ipcache, blocks: LiveBlocks, directory: Directory
    ) -> None:
        self._journal = journal
        self._registry = registry
        self._ipcache = ipcache
        self._directory = directory
        self._addresses = ManagedAddresses(journal, registry, blocks)
        self._holders: dict[Prefix, Identity] = {}

    def begin(self) -> None:
        """A change begins."""
        self._addresses.begin()

    def put(self, prefix: Prefix, labels: Labels | None) -> None:
        """A prefix is that of a workload with these labels, or nothing is known of it."""
        former = self._holders.get(prefix)
        before = frozenset() if former is None else self._registry[former]
        self._directory.put_ports(listens_of(before), listens_of(labels or frozenset()))
        if labels is not None:
            holder = self._registry.hold(labels)
            self._journal.put(self._holders, prefix, holder)
            self._addresses.put(prefix, holder)
        elif former is not None:
            self._journal.pop(self._holders, prefix)
            self._addresses.remove(prefix)
        if former is not None:
            self._registry.release(former)

    def settle(self) -> None:
        """Tell the ipcache who they are."""
        for prefix in self._addresses.settle():
            identity = self._addresses.identity(prefix)
            if identity is None:
                self._ipcache.unsay(Source.PEER, (prefix,))
            else:
                self._ipcache.say(Source.PEER, prefix, identity)
