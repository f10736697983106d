"""Everything about identities behind one door: who exists, who selects whom, and classes.

A change goes: ``begin``; ``hold`` and ``select`` what is new; ``settle`` (classes are as the new plan
needs them, and nobody has lost anything yet); ``unselect`` and ``release`` what is not needed any
more; ``retire``. The journal can take back any part of it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from pyroaring import BitMap

from kinety.identity.allocation import Numbering
from kinety.identity.classes import Classes
from kinety.identity.journal import Journal
from kinety.identity.label_index import LabelIndex
from kinety.identity.named_addresses import NamedAddresses
from kinety.identity.named_prefix import NamedPrefix, Outside
from kinety.identity.prefix_index import IPV4_WORLD, IPV6_WORLD, PrefixIndex, labels_of, world_of
from kinety.identity.selection import Selection, SelectionCache, is_selected
from kinety.model.address import Prefix
from kinety.model.identity import (
    FIRST_CLUSTER_IDENTITY,
    LAST_CLUSTER_IDENTITY,
    LOCAL_IDENTITY_BIT,
    ClassId,
    Identity,
    ReservedIdentity,
)
from kinety.model.label import ANY_SOURCE, BLOCK, CIDR, FQDN, RESERVED, Labels
from kinety.model.layer7 import NamePattern
from kinety.model.selector import (
    BlockSelector,
    CidrSelector,
    FqdnSelector,
    LabelSelector,
    PeerSelector,
)

_Key = TypeVar("_Key")
_LAST_LOCAL_IDENTITY = 2 * LOCAL_IDENTITY_BIT - 1
_NO_SOURCE_OF_WORKLOADS = (RESERVED, CIDR, ANY_SOURCE, BLOCK, FQDN)
_NOTHING: Labels = frozenset()


@dataclass(frozen=True, slots=True)
class IdentityHints:
    """Numbers of a former run, kept where they fit. ``classes`` may be what the kernel still holds."""

    identities: Mapping[Labels, int] = field(default_factory=dict)
    outside: Mapping[Outside, int] = field(default_factory=dict)
    classes: Mapping[Identity, ClassId] = field(default_factory=dict)


class Registry(Mapping[Identity, Labels]):
    """Identities with their labels, live selectors and classes of one node."""

    def __init__(self, journal: Journal, hints: IdentityHints) -> None:
        self._journal = journal
        self._labels = LabelIndex(journal)
        self._prefixes = PrefixIndex(journal)
        self._selections = SelectionCache(journal, self._labels, self._prefixes)
        self._names = NamedAddresses(journal, self._prefixes)
        self._named: dict[NamedPrefix, Identity] = {}
        self._named_as: dict[Identity, NamedPrefix] = {}
        self._numbers = Numbering(journal, FIRST_CLUSTER_IDENTITY, LAST_CLUSTER_IDENTITY, hints.identities)
        self._local_numbers = Numbering(journal, LOCAL_IDENTITY_BIT + 1, _LAST_LOCAL_IDENTITY, hints.outside)
        self._users: Counter[Identity] = Counter()
        #: Uses of prefixes, other than being all that a live CIDR selector is about.
        self._mentions: Counter[Prefix] = Counter()
        self._blocks: Counter[BlockSelector] = Counter()
        self._arrived = BitMap()
        self._added: list[Selection] = []
        self._unused: dict[Identity, None] = {}
        #: Prefixes that got their identity in this change, and those that lost it.
        self.prefixes_added: dict[Prefix, Identity] = {}
        self.prefixes_removed: dict[Prefix, Identity] = {}
        #: Identities of names that this change made, and who addresses with names are since: None is nobody.
        self.named_added: dict[Identity, NamedPrefix] = {}
        self.named_moved: dict[Prefix, Identity | None] = {}
        #: Blocks that this change made live, and those that it ended.
        self.blocks_added: dict[BlockSelector, None] = {}
        self.blocks_removed: dict[BlockSelector, None] = {}
        #: Identities that this change ended.
        self.freed: set[Identity] = set()
        self.classes = Classes(journal, self._selections.matching, hints.classes)
        for reserved in ReservedIdentity:
            if reserved is not ReservedIdentity.UNKNOWN:
                self._labels.add(Identity(reserved), reserved.labels)
        journal.commit()

    def __len__(self) -> int:
        return len(self._labels)

    # Questions

    def __iter__(self) -> Iterator[Identity]:
        """Every identity, ascending."""
        return (Identity(number) for number in self._labels.universe)

    def __contains__(self, identity: object) -> bool:
        return identity in self._labels

    def __getitem__(self, identity: Identity) -> Labels:
        """Labels of an identity. Raises KeyError for one that does not exist."""
        labels, prefix = self._labels.labels(identity), self._prefixes.prefix(identity)
        return labels if prefix is None else labels | labels_of(prefix)

    def arrived(self) -> dict[Identity, Labels]:
        """Identities of label sets that this change made."""
        return {
            (identity := Identity(number)): self[identity]
            for number in self._arrived
            if FIRST_CLUSTER_IDENTITY <= number <= LAST_CLUSTER_IDENTITY
        }

    def find(self, labels: Labels) -> Identity | None:
        """The identity that carries exactly these labels."""
        return self._labels.find(labels)

    def prefix(self, identity: Identity) -> Prefix | None:
        """The prefix that an identity stands for, or is some of the addresses of."""
        return self._prefixes.prefix(identity)

    def carriers(self, selector: LabelSelector) -> BitMap:
        """Identities that a selector matches, live or not."""
        return self._labels.select(selector)

    def matching(self, identity: Identity) -> list[Selection]:
        """Live selections that select an identity."""
        return self._selections.matching(identity)

    def selects(self, selector: PeerSelector, identity: Identity) -> bool:
        """Whether a selector, live or not, selects an identity; nobody who does not exist."""
        if identity not in self._labels:
            return False
        return is_selected(selector, self._labels.labels(identity), self._prefixes.prefix(identity))

    def outside(self, identity: Identity) -> Outside | None:
        """What an identity of this node alone is a number for; None for one of labels."""
        return self._named_as.get(identity) or self._prefixes.prefix(identity)

    def named(self, prefix: Prefix) -> Iterator[tuple[Prefix, Identity]]:
        """Addresses inside a prefix that live selectors select by name, and their identities."""
        return ((address, self._named[who]) for address, who in self._names.inside(prefix))

    def patterns(self) -> frozenset[NamePattern]:
        """Patterns of names that live selectors ask for."""
        return self._names.asked()

    def names(self, address: Prefix) -> frozenset[str]:
        """What DNS calls an address, as far as it was told."""
        return self._names.names(address)

    @property
    def unsettled(self) -> bool:
        """Whether a change that nothing is told of would save something."""
        return self.classes.unsettled or self._names.unsettled

    def live_selectors(self) -> int:
        """How many selectors are live."""
        return len(self._selections)

    def numbers(self) -> tuple[tuple[str, int, int], ...]:
        """Kinds of identities, how many numbers each kind has taken, and how many there are."""
        return (
            ("identities", len(self._numbers), self._numbers.size),
            ("local identities", len(self._local_numbers), self._local_numbers.size),
        )

    # A change

    def begin(self) -> None:
        """A change begins."""
        self._arrived = BitMap()
        self._added = []
        self._unused = {}
        self.prefixes_added = {}
        self.prefixes_removed = {}
        self.named_added = {}
        self.named_moved = {}
        self._names.begin()
        self.blocks_added = {}
        self.blocks_removed = {}
        self.freed = set()
        self.classes.begin()

    def rolled_back(self) -> None:
        """The change was taken back."""
        self.classes.rolled_back()
        self.begin()

    def hold(self, labels: Labels, told: Labels = _NOTHING) -> Identity:
        """The identity of a label set, and of what Kinety tells of its holder, for one more user.

        Raises ValueError for labels that only Kinety vouches for.
        """
        for label in labels:
            if label.source in _NO_SOURCE_OF_WORKLOADS:
                raise ValueError(f"label {label}: nobody but Kinety sets labels of {label.source!r}")
        labels |= told
        identity = self._labels.find(labels)
        if identity is None:
            identity = Identity(self._numbers.take(labels))
            self._labels.add(identity, labels)
            self._arrive(identity)
        self._use(identity, 1)
        return identity

    def release(self, identity: Identity) -> None:
        """One user less; the last one's leaving ends the identity in ``retire``."""
        self._use(identity, -1)
        if not self._users[identity] and identity >= FIRST_CLUSTER_IDENTITY:
            self._unused[identity] = None

    def select(self, selector: PeerSelector) -> Selection:
        """The selection of a selector, for one more user."""
        if not self._selections.is_live(selector):
            for prefix in _prefixes_of(selector):
                if selector != CidrSelector(prefix):
                    self._mention(prefix, 1)
                if self._prefixes.identity(prefix) is None:
                    self._arrive_prefix(prefix)
            if isinstance(selector, BlockSelector):
                self._count_block(replace(selector, among=None), 1)
            elif isinstance(selector, FqdnSelector):
                self._names.ask(selector.pattern)
        selection = self._selections.acquire(selector)
        if selection.users == 1:
            self._added.append(selection)
        return selection

    def unselect(self, selection: Selection) -> None:
        """One user of a selection less; without users it distinguishes nobody any more."""
        if self._selections.release(selection):
            self.classes.forget(selection)
            selector = selection.selector
            for prefix in _prefixes_of(selector):
                if selector != CidrSelector(prefix):
                    self._mention(prefix, -1)
                self._look_at(prefix)
            if isinstance(selector, BlockSelector):
                self._count_block(replace(selector, among=None), -1)
            elif isinstance(selector, FqdnSelector):
                self._names.ask_no_more(selector.pattern)

    def learn_names(self, address: Prefix, names: frozenset[str]) -> None:
        """DNS gave an address for these names and no others. Raises ValueError for many addresses."""
        self._names.learn(address, names)

    def relabel_host(self, told: Labels) -> bool:
        """The node carries these labels, beside the reserved one. Returns whether it had others.

        Its number stays, unlike others'.
        """
        host, labels = Identity(ReservedIdentity.HOST), ReservedIdentity.HOST.labels | told
        if self._labels.labels(host) == labels:
            return False
        self.classes.leave(host)
        self._selections.identity_removed(host)
        self._labels.remove(host)
        self._labels.add(host, labels)
        self._arrive(host)
        return True

    def settle(self) -> None:
        """Bring names and classes up to date with what was held and selected."""
        for move in self._names.settle():
            self.named_moved[move.address] = None if move.after is None else self._hold_named(move.after)
            if move.before is not None:
                self.release(self._named[move.before])
        self.classes.update(self._added, self._arrived, self._selections.live)

    def retire(self) -> None:
        """End the identities that nobody uses any more."""
        for identity in self._unused:
            prefix = self._prefixes.prefix(identity)
            if self._users[identity] or identity < FIRST_CLUSTER_IDENTITY or self._is_in_use(identity):
                continue
            self.freed.add(identity)
            self.classes.leave(identity)
            self._selections.identity_removed(identity)
            self._labels.remove(identity)
            if prefix is None:
                self._numbers.free(identity)
                continue
            self._local_numbers.free(identity)
            if self._prefixes.identity(prefix) == identity:
                self._prefixes.remove(prefix)
                self._names.prefix_removed(prefix)
                self.prefixes_removed[prefix] = identity
            else:
                self._prefixes.remove_part(identity)
                self._journal.pop(self._named, self._journal.pop(self._named_as, identity))

    def hints(self) -> IdentityHints:
        """Numbers in use, for the next run."""
        local = {
            who: identity
            for identity in self
            if identity & LOCAL_IDENTITY_BIT and (who := self.outside(identity)) is not None
        }
        named = {
            self._labels.labels(identity): identity
            for identity in self
            if FIRST_CLUSTER_IDENTITY <= identity <= LAST_CLUSTER_IDENTITY
        }
        return IdentityHints(named, local, dict(self.classes.entries()))

    def _arrive(self, identity: Identity) -> None:
        self._selections.identity_added(identity)
        self._arrived.add(identity)

    def _arrive_prefix(self, prefix: Prefix) -> None:
        """A prefix gets an identity."""
        identity = Identity(self._local_numbers.take(prefix))
        self._prefixes.add(prefix, identity)
        self._names.prefix_added(prefix)
        self._labels.join(identity, Identity(world_of(prefix)))
        self._arrive(identity)
        self.prefixes_added[prefix] = identity

    def _hold_named(self, who: NamedPrefix) -> Identity:
        """The identity of what names make of an address, for one more address."""
        identity = self._named.get(who)
        if identity is None:
            identity = Identity(self._local_numbers.take(who))
            self._journal.put(self._named, who, identity)
            self._journal.put(self._named_as, identity, who)
            self._prefixes.add_part(who.prefix, identity)
            self._labels.add(identity, who.labels)
            self._arrive(identity)
            self.named_added[identity] = who
        self._use(identity, 1)
        return identity

    def _look_at(self, prefix: Prefix) -> None:
        """The identity of a prefix may have become useless."""
        identity = self._prefixes.identity(prefix)
        if identity is not None and not self._is_mentioned(prefix):
            self._unused[identity] = None

    def _is_mentioned(self, prefix: Prefix) -> bool:
        return prefix in self._mentions or self._selections.is_live(CidrSelector(prefix))

    def _is_in_use(self, identity: Identity) -> bool:
        prefix = self._prefixes.prefix(identity)
        if prefix is None or self._prefixes.identity(prefix) != identity:
            return False
        return self._is_mentioned(prefix)

    def _use(self, identity: Identity, count: int) -> None:
        _add(self._users, identity, count)
        self._journal.did(_add, self._users, identity, -count)

    def _mention(self, prefix: Prefix, count: int) -> None:
        if prefix not in (IPV4_WORLD, IPV6_WORLD):
            _add(self._mentions, prefix, count)
            self._journal.did(_add, self._mentions, prefix, -count)

    def _count_block(self, block: BlockSelector, count: int) -> None:
        _add(self._blocks, block, count)
        self._journal.did(_add, self._blocks, block, -count)
        if count > 0 and self._blocks[block] == 1:
            self.blocks_added[block] = None
        elif not self._blocks[block]:
            self.blocks_removed[block] = None


def _prefixes_of(selector: PeerSelector) -> set[Prefix]:
    """Prefixes that must have identities for a selector to tell them apart."""
    if isinstance(selector, CidrSelector) or (isinstance(selector, BlockSelector) and selector.among is None):
        return {selector.prefix, *selector.except_}
    return set()


def _add(counter: Counter[_Key], key: _Key, count: int) -> None:
    counter[key] += count
    if not counter[key]:
        del counter[key]
