"""DNS names that addresses outside have, as far as anybody told."""

from collections import Counter
from collections.abc import Iterable

from kinety.identity.journal import Journal
from kinety.model.address import Prefix
from kinety.model.label import FQDN, Label
from kinety.model.layer7 import NamePattern

_NO_NAMES: frozenset[str] = frozenset()


class NameIndex:
    """Names by prefix, and every name that any has."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._names: dict[Prefix, frozenset[str]] = {}
        self._holders: Counter[str] = Counter()

    def of(self, prefix: Prefix) -> frozenset[str]:
        """Names of exactly this prefix."""
        return self._names.get(prefix, _NO_NAMES)

    def put(self, prefix: Prefix, names: frozenset[str]) -> None:
        """A prefix has these names and no others."""
        before = self.of(prefix)
        if names:
            self._journal.put(self._names, prefix, names)
        elif before:
            self._journal.pop(self._names, prefix)
        self._count(names - before, before - names)
        self._journal.did(self._count, before - names, names - before)

    def matching(self, pattern: NamePattern) -> list[Label]:
        """Labels of the names that a pattern matches."""
        return [Label(FQDN, name) for name in self._holders if pattern.matches(name)]

    def _count(self, more: Iterable[str], fewer: Iterable[str]) -> None:
        self._holders.update(more)
        for name in fewer:
            self._holders[name] -= 1
            if not self._holders[name]:
                del self._holders[name]
