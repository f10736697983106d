"""Classes: identities that no live selector tells apart.

Rule sets speak of classes, so a class must exist, with its rows, before an identity is in it. The
order of every change is therefore

1. *split*: new selectors cut classes in two. The smaller part moves to a new class. Every rule set
   in force treats both parts alike, so its rows for the new class are copies of those for the old.
2. *place*: new identities join the class of those that the same selectors select.
3. *merge*: classes that no selector in force tells apart any more become one.
4. afterwards *leave* and *forget*: identities and selectors that are gone.

Merging looks at what former changes left behind, never at selectors that go in the same change:
until endpoints have been flipped to their new rule sets, the old ones still tell the classes apart,
and an identity that moved too early would get a verdict that neither policy gives. So a class that
lost its last distinction waits, harmless, for the next change (an empty one will do). As a bonus a
policy that is removed and applied again finds its classes still there.

A class is found again by its signature, the sum of its selectors' tokens. Sums could be made to
collide by someone who chooses many selectors, so equal signatures are a hint and the selectors
themselves are compared before two things become one. A wrong "no" only leaves a class too many.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from types import MappingProxyType
from typing import cast

from pyroaring import BitMap

from kinety.identity.dense import Dense
from kinety.identity.journal import Journal
from kinety.identity.members import Members, among, compact, every, expand, lowest, union_of
from kinety.identity.refinement import Group, refine
from kinety.identity.selection import Selection
from kinety.model.identity import UNNAMED_CLASS, ClassId, Identity

#: From how many new identities on it is cheaper to refine them all at once.
_BULK = 64

Matching = Callable[[Identity], list[Selection]]


class Classes:
    """The partition in force, and what the change that is going on did to it.

    ``hints`` are classes of a former run, by identity; they count until the first classes have been
    made, so a restart gives all it knows in one change. ``matching`` tells the live selections of an
    identity.
    """

    def __init__(
        self, journal: Journal, matching: Matching, hints: Mapping[Identity, ClassId] | None = None
    ) -> None:
        self._journal = journal
        self._matching = matching
        self._hints = dict(hints or {})
        self._class: dict[int, ClassId] = {}
        self._named = BitMap()
        self._members: Dense[ClassId, Members] = Dense()
        self._signature: Dense[ClassId, int] = Dense()
        self._by_signature: dict[int, ClassId] = {}
        self._suspects: set[ClassId] = set()
        self._free: list[ClassId] = []
        self._last = max(self._hints.values(), default=UNNAMED_CLASS)
        self._before: dict[int, ClassId] = {}
        self._dropped: dict[ClassId, None] = {}
        #: Classes made by this change, and the class they were split from: 0 when no rule set in
        #: force names them, None when they were made for new identities.
        self.created: dict[ClassId, ClassId | None] = {}
        #: One identity of each class; read-only.
        self.representatives = BitMap()

    def __len__(self) -> int:
        """Identities in a class other than 0."""
        return len(self._class)

    def of(self, identity: Identity) -> ClassId:
        """The class of an identity; 0 when no live selector selects it."""
        return self._class.get(identity, UNNAMED_CLASS)

    def entries(self) -> Mapping[Identity, ClassId]:
        """Identities in a class other than 0; a live view."""
        return cast("Mapping[Identity, ClassId]", MappingProxyType(self._class))

    def representative(self, class_id: ClassId) -> Identity:
        """One identity of a class other than 0."""
        return Identity(lowest(self._members[class_id]))

    def members(self) -> Mapping[ClassId, Members]:
        """Identities of each class other than 0; read-only."""
        return self._members

    @property
    def unsettled(self) -> bool:
        """Whether the next change may merge classes."""
        return bool(self._suspects)

    @property
    def dropped(self) -> Iterable[ClassId]:
        """Classes this change emptied; their numbers are free from the next change on."""
        return self._dropped.keys()

    def begin(self) -> None:
        """A change begins."""
        if self._members:
            self._hints.clear()
        for class_id in self._dropped:
            heappush(self._free, class_id)
        self._before.clear()
        self._dropped.clear()
        self.created.clear()

    def rolled_back(self) -> None:
        """The change was taken back."""
        self._before.clear()
        self._dropped.clear()
        self.created.clear()

    def moved(self) -> dict[Identity, ClassId]:
        """Identities that this change put into another class, and which."""
        return {
            Identity(identity): self._class.get(identity, UNNAMED_CLASS)
            for identity, before in self._before.items()
            if self._class.get(identity, UNNAMED_CLASS) != before
        }

    def update(
        self, added: Sequence[Selection], arrived: BitMap, live: Callable[[], list[Selection]]
    ) -> None:
        """Split by new selections, place new identities, merge what former changes left."""
        if self._class:
            for selection in added:
                self._split(selection)
        pool = union_of(each.members for each in added)
        pool -= self._named
        if len(arrived) > _BULK:
            self._create(refine(pool | arrived, live()), None)
        else:
            pool -= arrived
            if pool:
                self._create(refine(pool, added), UNNAMED_CLASS)
            for identity in arrived:
                selections = self._matching(Identity(identity))
                signature = sum(each.token for each in selections)
                self._create([Group(identity, signature)], None)
        self._merge()

    def leave(self, identity: Identity) -> None:
        """The identity is gone. The selectors still know it."""
        class_id = self.of(identity)
        if class_id:
            self._move(BitMap((identity,)), class_id, UNNAMED_CLASS)
            if not self._members[class_id]:
                self._drop(class_id)

    def forget(self, selection: Selection) -> None:
        """The selector is gone; from the next change on it distinguishes nobody."""
        for identity in among(selection.members, self.representatives):
            class_id = self._class[identity]
            self._sign(class_id, self._signature[class_id] - selection.token)
            if not self._signature[class_id]:
                self._suspect(class_id)

    def _split(self, selection: Selection) -> None:
        """Cut classes that a new selection selects in part, and sign those that it selects."""
        side = among(selection.members, self._named)
        if 2 * len(side) > len(self._named):
            side = (self._named - expand(selection.members)).to_array()
        found: dict[ClassId, list[int]] = {}
        for identity in side:
            found.setdefault(self._class[identity], []).append(identity)
        cut: list[ClassId] = []
        for class_id, identities in found.items():
            members = self._members[class_id]
            if isinstance(members, int) or len(identities) == len(members):
                continue
            part = BitMap(identities)
            if 2 * len(part) > len(members):
                part = members - part
            target = self._new(part, self._signature[class_id])
            self.created[target] = self.created.get(class_id, class_id)
            self._move(part, class_id, target)
            if class_id in self._suspects:
                self._suspect(target)
            cut += (class_id, target)
        for identity in among(selection.members, self.representatives):
            class_id = self._class[identity]
            self._sign(class_id, self._signature[class_id] + selection.token)
        for class_id in cut:
            self._register(class_id)

    def _create(self, groups: Iterable[Group], parent: ClassId | None) -> None:
        """Put groups of identities of class 0 into the classes of their signatures."""
        for identities, signature in groups:
            if not signature:
                continue
            self._before.update(dict.fromkeys(every(identities), UNNAMED_CLASS))
            target = self._by_signature.get(signature)
            if target is None or not self._alike(Identity(lowest(identities)), self.representative(target)):
                target = self._number(identities)
                self.created[target] = parent
                self._found(target, identities, signature)
                self._journal.did(self._dissolve, target)
            else:
                joining = expand(identities)
                self._shift(joining, UNNAMED_CLASS, target)
                self._journal.did(self._shift, joining, target, UNNAMED_CLASS)

    def _merge(self) -> None:
        """Make one of classes that nobody tells apart."""
        for class_id in sorted(self._suspects):
            if class_id not in self._members:
                pass
            elif not self._signature[class_id]:
                self._move(expand(self._members[class_id]), class_id, UNNAMED_CLASS)
                self._drop(class_id)
            else:
                self._register(class_id)
                other = self._by_signature[self._signature[class_id]]
                if other != class_id and self._alike(
                    self.representative(class_id), self.representative(other)
                ):
                    self._join(class_id, other)
        self._journal.did(self._suspects.update, frozenset(self._suspects))
        self._suspects.clear()

    def _join(self, one: ClassId, other: ClassId) -> None:
        small, large = sorted((one, other), key=lambda each: (len(every(self._members[each])), -each))
        self._move(expand(self._members[small]), small, large)
        self._drop(small)
        self._register(large)

    def _alike(self, one: Identity, other: Identity) -> bool:
        return set(self._matching(one)) == set(self._matching(other))

    # Steps that can be taken back

    def _new(self, identities: BitMap, signature: int) -> ClassId:
        """A new, empty class for these identities."""
        class_id = self._number(identities)
        self._enter(class_id, signature)
        self._journal.did(self._exit, class_id)
        return class_id

    def _drop(self, class_id: ClassId) -> None:
        """An empty class is no more."""
        signature = self._signature[class_id]
        if self._by_signature.get(signature) == class_id:
            self._unregister(signature)
        self._exit(class_id)
        self._journal.did(self._enter, class_id, signature)
        self.created.pop(class_id, None)
        self._dropped[class_id] = None

    def _number(self, identities: Members) -> ClassId:
        """A class number: the one these identities had in a former run, or one nobody had."""
        if self._hints:
            for identity in every(identities):
                hint = self._hints.get(Identity(identity))
                if hint and hint not in self._members and hint not in self._dropped:
                    return hint
        while self._free:
            class_id = heappop(self._free)
            self._journal.did(heappush, self._free, class_id)
            if class_id not in self._members:  # a hint may have taken it
                return class_id
        self._journal.did(setattr, self, "_last", self._last)
        self._last = ClassId(self._last + 1)
        return self._last

    def _found(self, class_id: ClassId, members: Members, signature: int) -> None:
        """A class of identities of class 0, in one step: the first change makes thousands."""
        self._members[class_id] = members
        self._signature[class_id] = signature
        self._by_signature.setdefault(signature, class_id)
        self._class.update(dict.fromkeys(every(members), class_id))
        self._named.update(every(members))
        self.representatives.add(lowest(members))

    def _dissolve(self, class_id: ClassId) -> None:
        signature, members = self._signature[class_id], self._members[class_id]
        if self._by_signature[signature] == class_id:
            del self._by_signature[signature]
        self._shift(expand(members), class_id, UNNAMED_CLASS)
        self._exit(class_id)

    def _move(self, identities: BitMap, source: ClassId, target: ClassId) -> None:
        for identity in identities:
            self._before.setdefault(identity, source)
        self._shift(identities, source, target)
        self._journal.did(self._shift, identities, target, source)

    def _shift(self, identities: BitMap, source: ClassId, target: ClassId) -> None:
        if source:
            self._replace(source, expand(self._members[source]) - identities)
        if target:
            self._replace(target, expand(self._members[target]) | identities)
            self._class.update(dict.fromkeys(identities, target))
            self._named |= identities
        else:
            for identity in identities:
                del self._class[identity]
            self._named -= identities

    def _replace(self, class_id: ClassId, members: BitMap) -> None:
        if before := self._members[class_id]:
            self.representatives.discard(lowest(before))
        if members:
            self.representatives.add(members.min())
        self._members[class_id] = compact(members)

    def _sign(self, class_id: ClassId, signature: int) -> None:
        before = self._signature[class_id]
        if self._by_signature.get(before) == class_id:
            self._unregister(before)
        self._signature[class_id] = signature
        self._journal.did(self._signature.__setitem__, class_id, before)
        self._register(class_id)

    def _register(self, class_id: ClassId) -> None:
        """Let the class be found by its signature, unless another one is, with which it may be one."""
        signature = self._signature[class_id]
        if not signature:
            return
        if signature not in self._by_signature:
            self._by_signature[signature] = class_id
            self._journal.did(self._by_signature.__delitem__, signature)
        elif self._by_signature[signature] != class_id:
            self._suspect(class_id)

    def _unregister(self, signature: int) -> None:
        class_id = self._by_signature.pop(signature)
        self._journal.did(self._by_signature.__setitem__, signature, class_id)

    def _suspect(self, class_id: ClassId) -> None:
        if class_id not in self._suspects:
            self._suspects.add(class_id)
            self._journal.did(self._suspects.discard, class_id)

    def _enter(self, class_id: ClassId, signature: int) -> None:
        self._members[class_id] = BitMap()
        self._signature[class_id] = signature

    def _exit(self, class_id: ClassId) -> None:
        del self._members[class_id], self._signature[class_id]
