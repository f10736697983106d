"""Parties: the ends of a flow, and what the outside world says of them."""

from dataclasses import dataclass

#: (source, key, value)
Triple = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Party:
    """One end of a flow. ``kind`` is ``endpoint``, ``outside`` or an entity such as ``host`` or ``init``.

    An endpoint has ``labels``, all of them, its namespace's included; a node has its own, of the source
    ``node``. ``address`` is the one that the flow uses. ``ports`` are the names that an endpoint gives
    its ports: (name, protocol, port). ``names`` are those that DNS answers gave for an address outside.
    """

    kind: str
    labels: frozenset[Triple] = frozenset()
    address: str = ""
    ports: frozenset[tuple[str, int, int]] = frozenset()
    names: frozenset[str] = frozenset()

    @property
    def is_node(self) -> bool:
        """Whether it is this node or another one."""
        return self.kind in ("host", "remote-node")

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4


def values(labels: frozenset[Triple], source: str, key: str) -> list[str]:
    """Values of a key, whoever vouches for it when ``source`` is ``any``."""
    return [value for voucher, name, value in labels if name == key and source in ("any", voucher)]
