"""Programs at an endpoint's interface: put there, replaced between two packets, taken away.

A tcx link is updated atomically. Where the kernel has no tcx (before 6.6), a clsact filter is replaced,
which is atomic too. Both leave what else judges the interface as it is: a link goes before the agent's
links and filters and its verdict ends the walk, a filter takes the place of the agent's.
"""

import contextlib
import errno
from functools import partial
from typing import Protocol

from kinety.datapath.promotion import PLACES
from kinety.datapath.replacement import Programs, Step, all_or_none, replace_filters
from kinety.kernel.link import Link
from kinety.kernel.netlink import Netlink

#: What a kernel without tcx answers to a request for a link.
_NO_TCX = (errno.EINVAL, errno.EOPNOTSUPP)


class Placement(Protocol):
    """Where the two programs of one endpoint are."""

    def replace(self, programs: Programs) -> None:
        """Put other programs in their place: each packet meets the old one or the new one."""
        ...

    def remove(self) -> None:
        """Judge no more; what else is at the interface takes over."""
        ...


class Hooks:
    """Places programs at interfaces of this thread's network namespace."""

    def __init__(self, fallback: Programs | None = None, *, clsact_only: bool = False) -> None:
        """``fallback`` judge in the place of a removed filter; without them the filter stays."""
        self._fallback = fallback
        self._netlink = Netlink()
        #: Whether programs are placed by links.
        self.tcx = not clsact_only

    def place(self, interface: int, programs: Programs) -> Placement:
        """Put two programs at an interface, or none of them. Raises OSError."""
        if self.tcx:
            try:
                return LinkPlacement(interface, programs)
            except OSError as error:
                if error.errno not in _NO_TCX:
                    raise
                self.tcx = False
        return FilterPlacement(self._netlink, interface, programs, self._fallback)

    def close(self) -> None:
        """Close the netlink socket; placements stay."""
        self._netlink.close()


class LinkPlacement:
    """Two tcx links, which end with this process."""

    def __init__(self, interface: int, programs: Programs) -> None:
        """Attach both, or none. Raises OSError."""
        with contextlib.ExitStack() as attached:
            self._links = {
                program: attached.enter_context(
                    Link.attach_tcx(programs[program], interface, place, first=True)
                )
                for place, program in PLACES.items()
            }
            self._attached = attached.pop_all()
        self._programs = programs

    def replace(self, programs: Programs) -> None:
        """Update both links, or none: the first is put back when the second cannot be."""
        all_or_none(
            Step(partial(link.update, programs[name]), partial(link.update, self._programs[name]))
            for name, link in self._links.items()
        )
        self._programs = programs

    def remove(self) -> None:
        """Close the links; nothing else holds them."""
        self._attached.close()


class FilterPlacement:
    """Two clsact filters."""

    def __init__(
        self, netlink: Netlink, interface: int, programs: Programs, fallback: Programs | None
    ) -> None:
        """Add or replace both filters. Raises OSError."""
        self._netlink = netlink
        self._interface = interface
        self._fallback = fallback
        self._programs: Programs | None = None
        self.replace(programs)

    def replace(self, programs: Programs) -> None:
        """Replace both filters, or none: those that were replaced are put back when one cannot be."""
        replace_filters(self._netlink, self._interface, programs, self._programs or self._fallback)
        self._programs = programs

    def remove(self) -> None:
        """Leave the interface to the fallback. Without one the filters stay: an interface is never open."""
        if self._fallback is not None:
            with contextlib.suppress(OSError):  # the interface is gone, and its filters with it
                replace_filters(self._netlink, self._interface, self._fallback, None)
