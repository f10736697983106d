"""What proxies need to know of the node that they serve."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from kinety.model.address import IPAddress


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``own`` tells the node's addresses, ``cgroup`` is the one that proxies are in, if it matters."""

    own: Callable[[], Iterable[IPAddress]]
    cgroup: Path | None = None
