"""Tcx links of endpoints: pinned, updated atomically, made in the background.

A new endpoint starts on clsact filters, which cost no grace period. A tcx link costs one under the
rtnl lock (measured: 8-11 ms, two per endpoint), so links are made when nobody waits. Tcx programs
run before clsact and their verdict ends the walk: from the moment a link exists, its direction is
judged by the link alone. The filters stay behind it, unused: taking the clsact qdisc off an
interface stops the interface for a moment, and what the node sends then is lost (decision 0010).
They cost nothing there, and judge in the place of a link that somebody detached.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from kinety.kernel.link import Link
from kinety.kernel.program import Program

from .replacement import Programs, Step
from .template import FROM_ENDPOINT, TO_ENDPOINT

Place = Literal["ingress", "egress"]

#: Which program sits where on the host side of a veth. What enters the host side left the endpoint.
PLACES: Mapping[Place, str] = {"ingress": FROM_ENDPOINT, "egress": TO_ENDPOINT}


class Links:
    """The pinned tcx links of every slot."""

    def __init__(self, directory: Path, programs: Programs) -> None:
        self._directory = directory
        self._programs = programs
        self._pins = {path.name for path in directory.iterdir()}
        #: Links made, moved or removed since this object was made.
        self.writes = 0

    def __len__(self) -> int:
        return len(self.slots())

    def slots(self) -> frozenset[int]:
        """Slots whose two links are in place."""
        return frozenset(slot for slot in self.placed() if self.has(slot))

    def placed(self) -> frozenset[int]:
        """Slots that have a link, be it half of the two."""
        return frozenset(int(name.partition("-")[0]) for name in self._pins)

    def has(self, slot: int) -> bool:
        """Whether a slot's two links are in place."""
        return all(_pin(slot, place) in self._pins for place in PLACES)

    def promote(self, slot: int, interface: int) -> None:
        """Judge a slot's packets by links from now on; safe to repeat after an interruption.

        Raises OSError; ENODEV when the interface is gone.
        """
        for place, program in PLACES.items():
            name = _pin(slot, place)
            if name in self._pins:
                continue
            with Link.attach_tcx(self._programs[program], interface, place) as link:
                link.pin(self._directory / name)
            self._pins.add(name)
            self.writes += 1

    def remove(self, slot: int) -> None:
        """Unpin a slot's links; without a pin they end with their interface at the latest."""
        for place in PLACES:
            name = _pin(slot, place)
            if name in self._pins:
                with contextlib.suppress(FileNotFoundError):
                    (self._directory / name).unlink()
                self._pins.discard(name)
                self.writes += 1

    def remove_others(self, slots: Iterable[int]) -> None:
        """Unpin links of slots that are not among these."""
        for slot in self.placed().difference(slots):
            self.remove(slot)

    def moves(self, slot: int, programs: Programs) -> Iterator[Step]:
        """Steps that point the links a slot has at other programs; ``use`` says they are made."""
        for place, program in PLACES.items():
            if _pin(slot, place) in self._pins:
                path = self._directory / _pin(slot, place)
                forth, back = (
                    partial(self._update, path, each[program]) for each in (programs, self._programs)
                )
                yield Step(forth, back)

    def use(self, programs: Programs) -> None:
        """Make links of these programs from now on."""
        self._programs = programs

    def _update(self, path: Path, program: Program) -> None:
        """No packet goes unjudged in between."""
        with Link.open(path) as link:
            link.update(program)
        self.writes += 1


def _pin(slot: int, place: Place) -> str:
    return f"{slot}-{place}"
