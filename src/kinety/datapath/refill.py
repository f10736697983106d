"""Fresh empty tables on their way into slots of ``rule_sets``: the part of a refill that waits.

The kernel answers after an RCU grace period (8 ms), in which the caller has nothing to do and others may need
the one who calls. So this part knows nothing of the plan, and any thread can do it: the first one does, and
whoever comes meanwhile waits for it.
"""

import contextlib
from collections.abc import Mapping, Sequence
from struct import Struct
from threading import Lock

from kinety.kernel.map import Map
from kinety.kernel.spec import MapSpec

_WORD = Struct("=I")


class Refill:
    """A batch of slots, each to get a fresh table. Nobody may use them meanwhile."""

    def __init__(self, outer: Map, inner: MapSpec, slots: Sequence[int]) -> None:
        """Each table is an open file until it is in its slot: keep ``slots`` few."""
        self.slots = tuple(slots)
        self._outer = outer
        self._inner = inner
        self._lock = Lock()
        self._made: dict[int, int] | None = None
        self._error: OSError | None = None

    def run(self) -> None:
        """Do it, once; returns when it is done, whoever does it. Keeps what goes wrong for ``map_ids``."""
        with self._lock:
            if self._made is None and self._error is None:
                try:
                    self._made = self._put()
                except OSError as error:
                    self._error = error

    def map_ids(self) -> Mapping[int, int]:
        """The kernel's number of each slot's new table. Waits for it; raises OSError when it was refused."""
        self.run()
        if self._error is not None:
            raise self._error
        assert self._made is not None
        return self._made

    def _put(self) -> dict[int, int]:
        with contextlib.ExitStack() as tables:
            fresh = [tables.enter_context(Map.create(self._inner)) for _ in self.slots]
            self._outer.update_batch(
                b"".join(map(_WORD.pack, self.slots)),
                b"".join(_WORD.pack(table.fd) for table in fresh),
                len(fresh),
            )
            return {slot: table.id for slot, table in zip(self.slots, fresh, strict=True)}
