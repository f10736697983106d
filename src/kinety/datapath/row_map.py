"""A kernel map whose whole content the plan decides: hash and trie maps of packed rows."""

import errno
from collections.abc import Iterable, Mapping

from kinety.kernel.map import Map


class RowMap:
    """Writes packed rows in batches and counts them.

    It keeps no copy of the content: 60 000 rows would be held twice in user space.
    """

    def __init__(self, rows: Map) -> None:
        self._map = rows
        #: Rows written or erased since this object was made.
        self.writes = 0

    def write(self, rows: Mapping[bytes, bytes]) -> None:
        """Add rows or replace their values, in one system call."""
        if not rows:
            return
        self._map.update_batch(b"".join(rows.keys()), b"".join(rows.values()), len(rows))
        self.writes += len(rows)

    def erase(self, keys: Iterable[bytes]) -> None:
        """Remove rows; those that are not there are no error."""
        doomed = list(keys)
        if not doomed:
            return
        try:
            self._map.delete_batch(b"".join(doomed), len(doomed))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            for key in doomed:  # the batch stops at the first row that is not there
                self._map.delete(key)
        self.writes += len(doomed)

    def value(self, key: bytes) -> bytes | None:
        """One row's value."""
        return self._map.lookup(key)

    def rows(self) -> dict[bytes, bytes]:
        """What the kernel holds."""
        return dict(self._map.items())

    def write_differences(self, wanted: Mapping[bytes, bytes]) -> set[bytes]:
        """Write what is missing or different; returns the keys that are too many, for a later ``erase``."""
        held = self.rows()
        self.write({key: value for key, value in wanted.items() if held.get(key) != value})
        return held.keys() - wanted.keys()
