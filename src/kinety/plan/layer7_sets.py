"""Sets of rules about content that some table redirects to, each as long as one does."""

from collections import Counter
from collections.abc import Mapping

from kinety.model.layer7 import Layer7, Layer7Id


class Layer7Sets:
    """Content by address. What is counted here is taken back by whoever journals it, in reverse."""

    def __init__(self) -> None:
        self._users: Counter[Layer7Id] = Counter()
        self._live: dict[Layer7Id, Layer7] = {}
        #: Those that this change has touched, and whether they were there before it.
        self._before: dict[Layer7Id, bool] = {}
        #: Those that this change has given users.
        self._used: dict[Layer7Id, Layer7] = {}

    def begin(self) -> None:
        """A change begins."""
        self._before, self._used = {}, {}

    def live(self) -> dict[Layer7Id, Layer7]:
        """Every set that a table redirects to; a live view."""
        return self._live

    def added(self) -> dict[Layer7Id, Layer7]:
        """Sets that were not there before the change.

        Those that are gone after it as well: a table that is on its way out is taught what is new, because
        packets meet it until then.
        """
        return {key: self._used[key] for key, before in self._before.items() if not before}

    def removed(self) -> frozenset[Layer7Id]:
        """Sets that are no longer there."""
        return frozenset(key for key in self._before if key not in self._live)

    def use(self, sets: Mapping[Layer7Id, Layer7]) -> None:
        """One user more of each."""
        for key, layer7 in sets.items():
            self._before.setdefault(key, key in self._live)
            self._used[key] = layer7
            self._users[key] += 1
            self._live[key] = layer7

    def drop(self, sets: Mapping[Layer7Id, Layer7]) -> None:
        """One user less of each."""
        for key in sets:
            self._before.setdefault(key, key in self._live)
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._live[key]
