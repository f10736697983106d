"""Selectors and whom they select, kept up to date both ways.

A new selector is evaluated with bitmaps. A new identity is shown only to selectors it may match: a
label selector is filed under one thing an identity must carry, a CIDR selector under its prefix, a block
under that and under the label of endpoints inside; a pattern of names has a label of its own.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TypeVar

from pyroaring import BitMap

from kinety.identity.entity import is_complement, labels_of, matches
from kinety.identity.journal import Journal
from kinety.identity.label_index import LabelIndex
from kinety.identity.members import Members, compact, expand
from kinety.identity.multimap import Multimap
from kinety.identity.prefix_index import LengthTable, PrefixIndex, selects
from kinety.model.address import Prefix
from kinety.model.identity import Identity
from kinety.model.label import BLOCK, FQDN, Label, Labels
from kinety.model.layer7 import NamePattern
from kinety.model.selector import (
    BlockSelector,
    CidrSelector,
    EntitySelector,
    FqdnSelector,
    LabelSelector,
    Operator,
    PeerSelector,
)

_Key = TypeVar("_Key")
_TOKEN_BYTES = 15

#: What a label selector is filed under: key and value, a key alone, or nothing.
_Bin = tuple[str, str | None] | None


@dataclass(slots=True, eq=False)
class Selection:
    """A live selector, its share in the signatures of classes (``token``), and whom it selects."""

    selector: PeerSelector
    token: int
    members: Members
    users: int = 0
    bins: tuple[_Bin, ...] = field(default=())

    def __contains__(self, identity: Identity) -> bool:
        """Whether an identity is selected."""
        members = self.members
        return identity == members if isinstance(members, int) else identity in members

    def add(self, identity: Identity) -> None:
        """One identity more is selected."""
        if isinstance(self.members, int) or not self.members:
            self.members = compact(expand(self.members) | BitMap((identity,)))
        else:
            self.members.add(identity)

    def discard(self, identity: Identity) -> None:
        """An identity is selected no more."""
        if not isinstance(self.members, int):
            self.members.discard(identity)
        elif self.members == identity:
            self.members = BitMap()


class SelectionCache:
    """Every live selector once, however many rules have it."""

    def __init__(self, journal: Journal, labels: LabelIndex, prefixes: PrefixIndex) -> None:
        self._journal = journal
        self._labels = labels
        self._prefixes = prefixes
        self._live: dict[PeerSelector | Prefix, Selection] = {}
        self._filed: defaultdict[_Bin, dict[Selection, None]] = defaultdict(dict)
        self._entities: dict[Selection, None] = {}
        self._blocks: Multimap[Label, Selection] = Multimap()
        #: Those of addresses outside, blocks included.
        self._cidrs: Multimap[Prefix, Selection] = Multimap()
        self._lengths = LengthTable()
        self._serial = 0

    def __len__(self) -> int:
        return len(self._live)

    def live(self) -> list[Selection]:
        """All live selections, in the order they were made."""
        return list(self._live.values())

    def is_live(self, selector: PeerSelector) -> bool:
        """Whether a selector has a user."""
        return _key(selector) in self._live

    def acquire(self, selector: PeerSelector) -> Selection:
        """The selection of a selector, for one more user. The selector's prefixes have identities."""
        selection = self._live.get(_key(selector))
        if selection is None:
            self._serial += 1
            token = blake2b(self._serial.to_bytes(8, "big"), digest_size=_TOKEN_BYTES).digest()
            selection = Selection(selector, int.from_bytes(token, "big"), compact(self._evaluate(selector)))
            self._enter(selection)
            self._journal.did(self._leave, selection)
        selection.users += 1
        self._journal.did(_use, selection, -1)
        return selection

    def release(self, selection: Selection) -> bool:
        """One user less. True when it was the last: the selector is not live any more."""
        _use(selection, -1)
        self._journal.did(_use, selection, 1)
        if selection.users:
            return False
        self._leave(selection)
        self._journal.did(self._enter, selection)
        return True

    def identity_added(self, identity: Identity) -> list[Selection]:
        """Show a new identity to selectors; returns those that select it."""
        found = self.matching(identity) if self._live else []
        for selection in found:
            selection.add(identity)
            self._journal.did(selection.discard, identity)
        return found

    def identity_removed(self, identity: Identity) -> None:
        """The identity is gone, though the indexes still know it."""
        for selection in self.matching(identity):
            selection.discard(identity)
            self._journal.did(selection.add, identity)

    def matching(self, identity: Identity) -> list[Selection]:
        """Selections that select an identity, without looking at most of the others."""
        labels, prefix = self._labels.labels(identity), self._prefixes.prefix(identity)
        candidates = self._candidates(labels, prefix)
        return [each for each in candidates if is_selected(each.selector, labels, prefix)]

    def _candidates(self, labels: Labels, prefix: Prefix | None) -> dict[Selection, None]:
        found = self._entities | self._filed.get(None, {})
        for label in labels:
            for place in ((label.key, label.value), (label.key, None)):
                found |= self._filed.get(place, {})
            if label.source == BLOCK:
                found |= dict.fromkeys(self._blocks.of(label))
            elif label.source == FQDN and (named := self._live.get(FqdnSelector(NamePattern(label.key)))):
                found[named] = None
        if prefix is not None:
            for outer in self._lengths.around(prefix.packed, prefix.length):
                if (whole := self._live.get(outer)) is not None:
                    found[whole] = None
                found |= dict.fromkeys(self._cidrs.of(outer))
        return found

    def _evaluate(self, selector: PeerSelector) -> BitMap:
        match selector:
            case LabelSelector():
                return self._labels.select(selector)
            case CidrSelector():
                return self._prefixes.select(selector)
            case EntitySelector(entity):
                carriers = self._labels.carriers(labels_of(entity))
                return self._labels.universe - carriers if is_complement(entity) else carriers
            case FqdnSelector(pattern):
                return self._labels.carriers((Label(FQDN, pattern.pattern),))
            case BlockSelector(among=among):
                inside = self._labels.carriers((selector.label,))
                if among is not None:
                    return inside & self._labels.select(among)
                return inside | self._prefixes.select(selector)

    def _enter(self, selection: Selection) -> None:
        selector = selection.selector
        self._live[_key(selector)] = selection
        match selector:
            case LabelSelector():
                selection.bins = self._cheapest_bins(selector)
                for place in selection.bins:
                    self._filed[place][selection] = None
            case CidrSelector():
                self._enter_prefix(selector.prefix, selection)
            case BlockSelector():
                self._blocks.add(selector.label, selection)
                if selector.among is None:
                    self._enter_prefix(selector.prefix, selection)
            case FqdnSelector():
                pass  # its label leads to it
            case EntitySelector():
                self._entities[selection] = None

    def _leave(self, selection: Selection) -> None:
        selector = selection.selector
        del self._live[_key(selector)]
        match selector:
            case LabelSelector():
                for place in selection.bins:
                    _discard(self._filed, place, selection)
            case CidrSelector():
                self._leave_prefix(selector.prefix, selection)
            case BlockSelector():
                self._blocks.discard(selector.label, selection)
                if selector.among is None:
                    self._leave_prefix(selector.prefix, selection)
            case FqdnSelector():
                pass
            case EntitySelector():
                del self._entities[selection]

    def _enter_prefix(self, prefix: Prefix, selection: Selection) -> None:
        if _key(selection.selector) != prefix:
            self._cidrs.add(prefix, selection)
        self._lengths.add(prefix.length)

    def _leave_prefix(self, prefix: Prefix, selection: Selection) -> None:
        if _key(selection.selector) != prefix:
            self._cidrs.discard(prefix, selection)
        self._lengths.remove(prefix.length)

    def _cheapest_bins(self, selector: LabelSelector) -> tuple[_Bin, ...]:
        """Where to file a selector so that few identities visit it in vain."""
        best: tuple[_Bin, ...] = (None,)
        fewest: int | None = None
        places: tuple[_Bin, ...]
        for _, key, operator, values in selector.requirements:
            if operator is Operator.IN:
                places = tuple([(key, value) for value in values])
            elif operator is Operator.EXISTS:
                places = ((key, None),)
            else:
                continue
            company = 0
            for place in places:
                filed = self._filed.get(place)
                if filed is not None and len(filed) > company:
                    company = len(filed)
            if fewest is None or company < fewest:
                best, fewest = places, company
        return best


def is_selected(selector: PeerSelector, labels: Labels, prefix: Prefix | None) -> bool:
    """Whether a selector selects whoever has these labels; ``prefix`` is what a CIDR identity stands for."""
    match selector:
        case LabelSelector():
            return selector.matches(labels)
        case CidrSelector():
            return prefix is not None and selects(selector, prefix)
        case EntitySelector(entity):
            return matches(entity, labels)
        case FqdnSelector(pattern):
            return Label(FQDN, pattern.pattern) in labels
        case BlockSelector(among=among):
            if prefix is not None:
                return among is None and selects(selector, prefix)
            return selector.label in labels and (among is None or among.matches(labels))


def _key(selector: PeerSelector) -> PeerSelector | Prefix:
    """By what a selection is found. Most CIDR selectors are a prefix, and found by it: no index more."""
    return selector.prefix if isinstance(selector, CidrSelector) and not selector.except_ else selector


def _use(selection: Selection, count: int) -> None:
    selection.users += count


def _discard(filed: defaultdict[_Key, dict[Selection, None]], place: _Key, selection: Selection) -> None:
    del filed[place][selection]
    if not filed[place]:
        del filed[place]
