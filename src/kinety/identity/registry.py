"""Everything about identities behind one door: who exists, who selects whom, and classes.

A change goes: ``begin``; ``hold`` and ``select`` what is new; ``settle`` (classes are as the new plan
needs them, and nobody has lost anything yet); ``unselect`` and ``release`` what is not needed any
more; ``retire``. The journal can take back any part of it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pyroaring import BitMap

from kinety.identity.allocation import Numbering
from kinety.identity.classes import Classes
from kinety.identity.entity import matches
from kinety.identity.journal import Journal
from kinety.identity.label_index import LabelIndex
from kinety.identity.prefix_index import IPV4_WORLD, IPV6_WORLD, PrefixIndex, labels_of, selects, world_of
from kinety.identity.selection import Selection, SelectionCache
from kinety.model.address import Prefix
from kinety.model.identity import (
    FIRST_CLUSTER_IDENTITY,
    LAST_CLUSTER_IDENTITY,
    LOCAL_IDENTITY_BIT,
    ClassId,
    Identity,
    ReservedIdentity,
)
from kinety.model.label import ANY_SOURCE, CIDR, RESERVED, Labels
from kinety.model.selector import (
    BlockSelector,
    CidrSelector,
    EntitySelector,
    FqdnSelector,
    LabelSelector,
    PeerSelector,
)

_Key = TypeVar("_Key")
_LAST_LOCAL_IDENTITY = 2 * LOCAL_IDENTITY_BIT - 1
_NO_SOURCE_OF_WORKLOADS = (RESERVED, CIDR, ANY_SOURCE)


@dataclass(frozen=True, slots=True)
class IdentityHints:
    """Numbers of a former run, kept where they fit. ``classes`` may be what the kernel still holds."""

    identities: Mapping[Labels, int] = field(default_factory=dict)
    prefixes: Mapping[Prefix, int] = field(default_factory=dict)
    classes: Mapping[Identity, ClassId] = field(default_factory=dict)


class Registry(Mapping[Identity, Labels]):
    """Identities with their labels, live selectors and classes of one node."""

    def __init__(self, journal: Journal, hints: IdentityHints) -> None:
        self._journal = journal
        self._labels = LabelIndex(journal)
        self._prefixes = PrefixIndex(journal)
        self._selections = SelectionCache(journal, self._labels, self._prefixes)
        self._numbers = Numbering(journal, FIRST_CLUSTER_IDENTITY, LAST_CLUSTER_IDENTITY, hints.identities)
        self._local_numbers = Numbering(journal, LOCAL_IDENTITY_BIT + 1, _LAST_LOCAL_IDENTITY, hints.prefixes)
        self._users: Counter[Identity] = Counter()
        #: How often prefixes are mentioned beyond the first time: nearly none is.
        self._repeated: Counter[Prefix] = Counter()
        self._arrived = BitMap()
        self._added: list[Selection] = []
        self._unused: dict[Identity, None] = {}
        #: Prefixes that got their identity in this change, and those that lost it.
        self.prefixes_added: dict[Prefix, Identity] = {}
        self.prefixes_removed: dict[Prefix, Identity] = {}
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
        prefix = self._prefixes.prefix(identity)
        return self._labels.labels(identity) if prefix is None else labels_of(prefix)

    def arrived(self) -> dict[Identity, Labels]:
        """Identities of label sets that this change made."""
        return {
            (identity := Identity(number)): self[identity]
            for number in self._arrived
            if number <= LAST_CLUSTER_IDENTITY
        }

    def find(self, labels: Labels) -> Identity | None:
        """The identity that carries exactly these labels."""
        return self._labels.find(labels)

    def prefix(self, identity: Identity) -> Prefix | None:
        """The prefix that an identity stands for."""
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
        match selector:
            case LabelSelector():
                return selector.matches(self._labels.labels(identity))
            case EntitySelector(entity):
                return matches(entity, self._labels.labels(identity))
            case CidrSelector():
                prefix = self._prefixes.prefix(identity)
                return prefix is not None and selects(selector, prefix)
            case BlockSelector() | FqdnSelector():
                raise ValueError(f"{selector} cannot be evaluated yet")

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
        self.freed = set()
        self.classes.begin()

    def rolled_back(self) -> None:
        """The change was taken back."""
        self.classes.rolled_back()
        self.begin()

    def hold(self, labels: Labels) -> Identity:
        """The identity of a label set, for one more user.

        Raises ValueError for labels that only Kinety vouches for.
        """
        for label in labels:
            if label.source in _NO_SOURCE_OF_WORKLOADS:
                raise ValueError(f"label {label}: nobody but Kinety sets labels of {label.source!r}")
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
        if isinstance(selector, CidrSelector) and not self._selections.is_live(selector):
            for prefix in {selector.prefix, *selector.except_}:
                self._mention(prefix)
        selection = self._selections.acquire(selector)
        if selection.users == 1:
            self._added.append(selection)
        return selection

    def unselect(self, selection: Selection) -> None:
        """One user of a selection less; without users it distinguishes nobody any more."""
        if self._selections.release(selection):
            self.classes.forget(selection)
            selector = selection.selector
            if isinstance(selector, CidrSelector):
                for prefix in {selector.prefix, *selector.except_}:
                    self._withdraw(prefix)

    def settle(self) -> None:
        """Bring classes up to date with what was held and selected."""
        self.classes.update(self._added, self._arrived, self._selections.live)

    def retire(self) -> None:
        """End the identities that nobody uses any more."""
        for identity in self._unused:
            prefix = self._prefixes.prefix(identity)
            if self._users[identity] or identity < FIRST_CLUSTER_IDENTITY:
                continue
            self.freed.add(identity)
            self.classes.leave(identity)
            self._selections.identity_removed(identity)
            self._labels.remove(identity)
            if prefix is None:
                self._numbers.free(identity)
            else:
                self._prefixes.remove(prefix)
                self._local_numbers.free(identity)
                self.prefixes_removed[prefix] = identity

    def hints(self) -> IdentityHints:
        """Numbers in use, for the next run."""
        local = {
            prefix: identity
            for identity in self
            if identity & LOCAL_IDENTITY_BIT and (prefix := self._prefixes.prefix(identity)) is not None
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
        identity = Identity(self._local_numbers.take(prefix))
        self._prefixes.add(prefix, identity)
        self._labels.join(identity, Identity(world_of(prefix)))
        self._arrive(identity)
        self.prefixes_added[prefix] = identity

    def _use(self, identity: Identity, count: int) -> None:
        _add(self._users, identity, count)
        self._journal.did(_add, self._users, identity, -count)

    def _mention(self, prefix: Prefix) -> None:
        """A live selector more has this prefix."""
        if self._prefixes.identity(prefix) is None:
            self._arrive_prefix(prefix)
        elif prefix not in (IPV4_WORLD, IPV6_WORLD):
            self._repeat(prefix, 1)

    def _withdraw(self, prefix: Prefix) -> None:
        """A live selector less has this prefix; the last one's going ends its identity in ``retire``."""
        if prefix in self._repeated:
            self._repeat(prefix, -1)
        elif prefix not in (IPV4_WORLD, IPV6_WORLD) and (identity := self._prefixes.identity(prefix)):
            self._unused[identity] = None

    def _repeat(self, prefix: Prefix, count: int) -> None:
        _add(self._repeated, prefix, count)
        self._journal.did(_add, self._repeated, prefix, -count)


def _add(counter: Counter[_Key], key: _Key, count: int) -> None:
    counter[key] += count
    if not counter[key]:
        del counter[key]
