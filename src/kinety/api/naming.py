"""What DNS said, as the API tells it, and is told it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NameMapping:
    """An address that DNS gave for a name.

    ``seconds_left`` is 0 for a mapping that has expired, and is ``held`` while a flow with its address is
    open. ``patterns`` are those of live rules that the name is of. ``identity`` is who the address is.
    """

    name: str
    address: str
    seconds_left: float
    held: bool
    patterns: tuple[str, ...]
    identity: int


@dataclass(frozen=True, slots=True)
class Names:
    """All mappings by name and address, of a pattern where one was asked for; and counts of all there are.

    ``held`` have expired and stay for open flows. ``evicted`` went before their time, because a name has at
    most ``addresses_at_most``. ``refused`` answers were not learnt, for want of room or because something
    failed; ``crowded`` ones because who asked had brought as many mappings as were free of the
    ``mappings_at_most``. The three count from the agent's start. ``seconds_at_least`` is how long a mapping
    lasts at least.
    """

    mappings: tuple[NameMapping, ...]
    known: int
    held: int
    evicted: int
    refused: int
    crowded: int
    mappings_at_most: int
    addresses_at_most: int
    seconds_at_least: float


@dataclass(frozen=True, slots=True)
class NameAnswer:
    """Addresses of a name, and for how many seconds."""

    addresses: tuple[str, ...]
    ttl: int


@dataclass(frozen=True, slots=True)
class NamesForgotten:
    """How many mappings there were."""

    mappings: int
