"""The store's table of what DNS said, so that a restarted agent knows whom live flows belong to."""

import sqlite3
from collections.abc import Iterable

from kinety.agent.names.cache import Lesson, Pair

SCHEMA = """
CREATE TABLE name (
    name TEXT NOT NULL,
    address BLOB NOT NULL,
    expires REAL NOT NULL,
    PRIMARY KEY (name, address)
) WITHOUT ROWID
"""


class NameTable:
    """Mappings and when they expire, in seconds since 1970. Changed inside the store's ``transaction``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def all(self) -> dict[Pair, float]:
        """Every mapping."""
        rows: Iterable[tuple[str, bytes, float]] = self._connection.execute(
            "SELECT name, address, expires FROM name"
        )
        return {(name, address): expires for name, address, expires in rows}

    def write(self, lesson: Lesson) -> None:
        """Follow a step of the cache."""
        many = self._connection.executemany
        many("DELETE FROM name WHERE name = ? AND address = ?", lesson.gone)
        many(
            "INSERT OR REPLACE INTO name VALUES (?, ?, ?)",
            [(*pair, expires) for pair, expires in lesson.expires.items()],
        )
