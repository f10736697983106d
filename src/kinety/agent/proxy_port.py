"""Ports of listeners, and the store's table of them: rule sets in the kernel name them, over restarts too."""

import sqlite3
from collections.abc import Iterable

from kinety.model.layer7 import Layer7Id

SCHEMA = """
CREATE TABLE listener (
    port INTEGER PRIMARY KEY,
    layer7 TEXT NOT NULL UNIQUE
)
"""


class PortTable:
    """The store's ports. Changes are made inside the store's ``transaction``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def all(self) -> dict[Layer7Id, int]:
        """Every port by the rules about content that its listener is."""
        return {Layer7Id(layer7): port for port, layer7 in self._connection.execute("SELECT * FROM listener")}

    def put(self, ports: Iterable[tuple[Layer7Id, int]]) -> None:
        """These listeners have these ports."""
        rows = [(port, layer7) for layer7, port in ports]
        self._connection.executemany("INSERT OR REPLACE INTO listener VALUES (?, ?)", rows)

    def delete(self, listeners: Iterable[Layer7Id]) -> None:
        """These listeners have no port any more."""
        self._connection.executemany("DELETE FROM listener WHERE layer7 = ?", [(each,) for each in listeners])
