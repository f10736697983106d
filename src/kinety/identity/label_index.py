"""Identities by label: who carries a label, as roaring bitmaps.

Sixty thousand identities must fit in some tens of megabytes, so nothing here is a Python set: labels
are interned and get a small number (a token), an identity is a sorted tuple of tokens, and a label
that a single identity carries (a pod template's hash) is an int instead of a bitmap.
"""

from collections.abc import Iterable, Iterator

from pyroaring import BitMap

from kinety.identity.journal import Journal
from kinety.model.identity import Identity
from kinety.model.label import ANY_SOURCE, HIDDEN_SOURCES, Label, Labels
from kinety.model.selector import LabelSelector, Operator, Requirement

_Tokens = tuple[int, ...]
_NEED_THE_KEY = (Operator.IN, Operator.EXISTS)
_NEED_NO_VALUE = (Operator.EXISTS, Operator.DOES_NOT_EXIST)


class LabelIndex:
    """Labels of identities, both ways.

    Identities may ``join`` another and be whatever selectors take that one for; that is how prefixes are
    part of the world. Labels of their own, which nobody selects by, would take 40 MiB of sixty thousand.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._token: dict[tuple[str, str, str], int] = {}
        self._label: list[Label | None] = []
        self._holders: list[int | BitMap | None] = []
        self._free_tokens: list[int] = []
        self._identities: dict[_Tokens, Identity] = {}
        self._tokens: dict[Identity, _Tokens] = {}
        self._joined: dict[Identity, BitMap] = {}
        self._with_key: dict[tuple[str, str], BitMap] = {}
        self._sources: dict[str, list[str]] = {}
        #: Every identity; read-only.
        self.universe = BitMap()

    def __len__(self) -> int:
        return len(self.universe)

    def __contains__(self, identity: object) -> bool:
        return isinstance(identity, int) and identity in self.universe

    def find(self, labels: Labels) -> Identity | None:
        """The identity that carries exactly these labels."""
        tokens = [self._token.get(label) for label in labels]
        if None in tokens:
            return None
        return self._identities.get(tuple(sorted(token for token in tokens if token is not None)))

    def labels(self, identity: Identity) -> Labels:
        """Labels of an identity, or of the one it joined. Raises KeyError for one that does not exist."""
        return frozenset(
            label
            for token in self._tokens[self._joins(identity) or identity]
            if (label := self._label[token]) is not None
        )

    def add(self, identity: Identity, labels: Labels) -> None:
        """A new identity; neither the number nor the labels have been given before."""
        self._insert(identity, labels)
        self._journal.did(self._erase, identity)

    def join(self, identity: Identity, other: Identity) -> None:
        """A new identity that selectors do not tell from ``other``, which outlives it."""
        self._enter(identity, other)
        self._journal.did(self._leave, identity, other)

    def remove(self, identity: Identity) -> None:
        """The identity is gone."""
        if other := self._joins(identity):
            self._leave(identity, other)
            self._journal.did(self._enter, identity, other)
        else:
            labels = self.labels(identity)
            self._erase(identity)
            self._journal.did(self._insert, identity, labels)

    def select(self, selector: LabelSelector) -> BitMap:
        """Identities that a selector matches; a bitmap of the caller's own."""
        required: list[BitMap] = []
        forbidden: list[BitMap] = []
        for requirement in selector.requirements:
            holders = self._matching(requirement)
            if requirement.operator in _NEED_THE_KEY:
                if not holders:
                    return BitMap()
                required.append(holders)
            else:
                forbidden.append(holders)
        if len(required) > 2:
            required.sort(key=len)
        if len(required) > 1:
            result = required[0] & required[1]
            for holders in required[2:]:
                result &= holders
        else:
            result = BitMap(required[0] if required else self.universe)
        for holders in forbidden:
            result -= holders
        return result

    def carriers(self, labels: Iterable[Label]) -> BitMap:
        """Identities that carry one of these labels; a bitmap of the caller's own."""
        found = [holders for label in labels if (holders := self._with_label(label)) is not None]
        return BitMap.union(*found) if found else BitMap()

    def _matching(self, requirement: Requirement) -> BitMap:
        """Identities that have the key, with one of the values where there are values."""
        source, key, operator, values = requirement
        sources = self._sources.get(key, ()) if source == ANY_SOURCE else (source,)
        if len(values) == 1 and len(sources) == 1:
            return self._with_label((sources[0], key, values[0])) or BitMap()
        present: list[BitMap] = []
        for each in sources:
            if operator in _NEED_NO_VALUE:
                if (holders := self._with_key.get((each, key))) is not None:
                    present.append(holders)
                continue
            for value in values:
                if (holders := self._with_label((each, key, value))) is not None:
                    present.append(holders)
        if len(present) == 1:
            return present[0]
        return BitMap.union(*present) if present else BitMap()

    def _with_label(self, label: tuple[str, str, str]) -> BitMap | None:
        token = self._token.get(label)
        if token is None:
            return None
        holders = self._holders[token]
        return BitMap((holders,)) if isinstance(holders, int) else holders

    def _insert(self, identity: Identity, labels: Labels) -> None:
        tokens = []
        for label in labels:
            token = self._token.get(label)
            if token is None:
                token = self._intern(label)
                self._holders[token] = identity
            else:
                holders = self._holders[token]
                if isinstance(holders, int):
                    self._holders[token] = BitMap((holders, identity))
                elif holders is not None:
                    holders.add(identity)
            tokens.append(token)
            self._with_key[label.source, label.key].add(identity)
        tokens.sort()
        key = tuple(tokens)
        self._tokens[identity] = key
        self._identities[key] = identity
        self.universe.add(identity)

    def _erase(self, identity: Identity) -> None:
        tokens = self._tokens.pop(identity)
        del self._identities[tokens]
        self.universe.discard(identity)
        for token in tokens:
            label = self._label[token]
            assert label is not None
            holders = self._holders[token]
            if isinstance(holders, BitMap):
                holders.discard(identity)
            if isinstance(holders, int) or not holders:
                self._forget(token, label)
            self._erase_key(identity, label)

    def _joins(self, identity: Identity) -> Identity | None:
        """The identity that this one joined."""
        return next((other for other, joined in self._joined.items() if identity in joined), None)

    def _enter(self, identity: Identity, other: Identity) -> None:
        self._joined.setdefault(other, BitMap()).add(identity)
        self.universe.add(identity)
        for label, holders in self._company(other):
            holders.add(identity)
            self._with_key[label.source, label.key].add(identity)

    def _leave(self, identity: Identity, other: Identity) -> None:
        self._joined[other].discard(identity)
        self.universe.discard(identity)
        for label, holders in self._company(other):
            holders.discard(identity)
            self._with_key[label.source, label.key].discard(identity)

    def _company(self, identity: Identity) -> Iterator[tuple[Label, BitMap]]:
        """Labels of an identity and who carries each, as a bitmap that stays one."""
        for token in self._tokens[identity]:
            label, holders = self._label[token], self._holders[token]
            assert label is not None
            if not isinstance(holders, BitMap):
                holders = self._holders[token] = BitMap(() if holders is None else (holders,))
            yield label, holders

    def _erase_key(self, identity: Identity, label: Label) -> None:
        place = (label.source, label.key)
        with_key = self._with_key.get(place)
        if with_key is None:  # the identity had two values, and this is the second
            return
        with_key.discard(identity)
        if not with_key:
            del self._with_key[place]
            if label.source in HIDDEN_SOURCES:
                return
            sources = self._sources[label.key]
            sources.remove(label.source)
            if not sources:
                del self._sources[label.key]

    def _intern(self, label: Label) -> int:
        place = (label.source, label.key)
        if place not in self._with_key:
            self._with_key[place] = BitMap()
            if label.source not in HIDDEN_SOURCES:  # `any` does not see those
                self._sources.setdefault(label.key, []).append(label.source)
        if self._free_tokens:
            token = self._free_tokens.pop()
            self._label[token] = label
        else:
            token = len(self._label)
            self._label.append(label)
            self._holders.append(None)
        self._token[label] = token
        return token

    def _forget(self, token: int, label: Label) -> None:
        del self._token[label]
        self._label[token] = None
        self._holders[token] = None
        self._free_tokens.append(token)
