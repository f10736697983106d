"""Ports of listeners, and the store's table of them: rule sets in the kernel name them, over restarts too."""

import socket
import sqlite3
from collections.abc import Iterable
from itertools import product

from kinety.model.layer7 import Layer7Id

SCHEMA = """
CREATE TABLE listener (
    port INTEGER PRIMARY KEY,
    layer7 TEXT NOT NULL UNIQUE
)
"""


#: Where listeners are.
_LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def is_vacant(port: int) -> bool:
    """Whether nobody in this network namespace has a port of the loopback's, by TCP or UDP.

    Asked before a listener is given it: programs of the node may be in the agent's range, too.
    """
    for (family, address), kind in product(_LOOPBACK, (socket.SOCK_STREAM, socket.SOCK_DGRAM)):
        with socket.socket(family, kind) as probe:
            if kind is socket.SOCK_STREAM:
                # Former connections do not count.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


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
