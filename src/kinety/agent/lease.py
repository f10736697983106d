"""Leases of addresses: what they are, the time they are counted in, and the store's table of them.

An address is held by an endpoint, or it was given up and is in quarantine. How long ago that was must
survive a restart of the agent and must not depend on the wall clock, which people and NTP set. So it is
written down in seconds since the machine started, suspension included (``CLOCK_BOOTTIME``), with the
kernel's name for this start. A row of another start says nothing about now: its quarantine begins again.
"""

import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

SCHEMA = """
CREATE TABLE lease (
    address BLOB PRIMARY KEY,
    owner TEXT NOT NULL,
    since REAL NOT NULL,
    boot TEXT,
    released REAL
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time: seconds since the machine's start that the kernel calls ``boot``."""

    boot: str
    uptime: float

    @classmethod
    def now(cls) -> "Moment":
        """This moment."""
        return cls(_boot(), time.clock_gettime(time.CLOCK_BOOTTIME))


@dataclass(frozen=True, slots=True)
class Lease:
    """A packed address, and the endpoint (``namespace/name``) that has it or had it last.

    ``since`` is when the endpoint got it, in seconds since 1970. ``released`` is when it gave it up;
    None: it has it.
    """

    address: bytes
    owner: str
    since: float
    released: Moment | None = None


class LeaseTable:
    """The store's leases. Changes are made inside the store's ``transaction``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def all(self) -> tuple[Lease, ...]:
        """Every lease, by address."""
        rows = self._connection.execute(
            "SELECT address, owner, since, boot, released FROM lease ORDER BY address"
        )
        return tuple(
            Lease(address, owner, since, None if boot is None else Moment(boot, released))
            for address, owner, since, boot, released in rows
        )

    def put(self, leases: Iterable[Lease]) -> None:
        """Write leases, each in the place of its address's former one."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?)", [_columns(each) for each in leases]
        )

    def delete(self, addresses: Iterable[bytes]) -> None:
        """Forget leases: their addresses are anybody's."""
        self._connection.executemany("DELETE FROM lease WHERE address = ?", [(each,) for each in addresses])


def _columns(lease: Lease) -> tuple[bytes, str, float, str | None, float | None]:
    at = lease.released
    boot, uptime = (None, None) if at is None else (at.boot, at.uptime)
    return lease.address, lease.owner, lease.since, boot, uptime


@cache
def _boot() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()
