"""Other programs at many places: at all of them, or at none.

A step changes one place in one go, so each packet there meets what was or what is to be. Steps are made
one after the other, and taken back in the opposite order when one fails. A place that went away with its
interface needs nothing any more, and no packet of it is judged by anybody.
"""

import errno
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from kinety.kernel.netlink import Batch, Netlink
from kinety.kernel.program import Program

from .template import FROM_ENDPOINT, TO_ENDPOINT

Programs = Mapping[str, Program]

#: How the kernel says that the interface of a filter or of a link is gone.
_GONE = (errno.ENODEV, errno.ENOLINK)


class PutBackError(OSError):
    """Some places have the new programs, and could not be given the former ones again."""


@dataclass(frozen=True, slots=True)
class Step:
    """A change of one place and the way back. Both raise OSError, and then the place is as it was."""

    do: Callable[[], None]
    undo: Callable[[], None]


def all_or_none(steps: Iterable[Step]) -> None:
    """Make every step. When one fails, those made are taken back, and what it raised is raised.

    Raises PutBackError, with the failures as notes, when that was not possible; places that are gone do
    not count.
    """
    made: list[Step] = []
    try:
        for step in steps:
            step.do()
            made.append(step)
    except BaseException as error:
        if stuck := [failure for step in reversed(made) if (failure := _refusal_of(step.undo))]:
            left = PutBackError(stuck[0].errno, f"{len(stuck)} of {len(made)} places could not be put back")
            for failure in stuck:
                left.add_note(str(failure))
            raise left from error
        raise


def unless_gone(change: Callable[[], None]) -> bool:
    """Change a place; False when its interface is gone. Raises OSError for other failures."""
    try:
        change()
    except OSError as error:
        if error.errno not in _GONE:
            raise
        return False
    return True


def replace_filters(netlink: Netlink, interface: int, programs: Programs, former: Programs | None) -> None:
    """Judge by two clsact filters, made or replaced: both, or ``former`` as before.

    Raises OSError; PutBackError when one of the two stays replaced.
    """
    try:
        _filter(netlink, interface, programs)
    except OSError as error:
        if former is not None and (stuck := _refusal_of(partial(_filter, netlink, interface, former))):
            raise PutBackError(stuck.errno, f"half replaced: {stuck.strerror}") from error
        raise


def filter_by(batch: Batch, interface: int, programs: Programs) -> None:
    """Add two clsact filters to what is sent, or other programs for those there are."""
    # What enters the host side left the endpoint.
    batch.clsact_attach(interface, ingress=programs[FROM_ENDPOINT].fd, egress=programs[TO_ENDPOINT].fd)


def _filter(netlink: Netlink, interface: int, programs: Programs) -> None:
    with netlink.batch() as batch:
        filter_by(batch, interface, programs)


def _refusal_of(undo: Callable[[], None]) -> OSError | None:
    try:
        unless_gone(undo)
    except OSError as error:
        return error
    return None
