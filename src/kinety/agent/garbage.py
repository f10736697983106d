"""When to look for cyclic garbage, and to give memory back: not in the middle of a change.

The plan of a node is some hundred thousand objects that live long and form no cycles. The collector
walks all of them again and again while a change makes new ones, and a request waits for it: with 3000
policies, a change of every endpoint took 15 ms and without it 7. So what a change leaves is set aside
at once, which costs nothing, and all of it is looked through now and then, when nobody waits.

Memory that a change needed and freed lies between what it made, where the C library keeps it: 15 to 20
of 200 MiB after sixty thousand prefixes came. Giving back its pages takes a millisecond.
"""

import gc
import time

from kinety.kernel.memory import give_back

#: Objects made and not freed, until the young ones are looked through.
_YOUNG = 50_000
#: Seconds between two looks at everything, if anything was changed meanwhile.
_INTERVAL = 600.0


class Garbage:
    """The interpreter's collector, kept out of the way."""

    def __init__(self) -> None:
        gc.set_threshold(_YOUNG, 20, 100)
        self._looked = time.monotonic()
        self._changed = False

    def set_aside(self) -> None:
        """A change is over: what lives now is not looked at by the next."""
        gc.freeze()
        self._changed = True

    def look(self) -> None:
        """Nobody waits: give back what is free, and look through everything, when it was long ago."""
        gc.collect()  # of nothing, for all was set aside; but it empties the interpreter's lists of spares
        give_back()
        if self._changed and time.monotonic() - self._looked > _INTERVAL:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._looked = time.monotonic()
            self._changed = False
