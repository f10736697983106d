"""What the process serves: as the agent tells it, and as a file in the run directory keeps it.

The file lets a restarted process serve before the agent has spoken. Times in it count from the machine's
start, so it is of one boot only.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from kinety.model.address import IPAddress
from kinety.model.layer7 import Layer7Id, NamePattern
from kinety.proxy.dns.rebinding import Protection

#: Files of the run directory: the agent's socket, and the state.
SOCKET, STATE = "dns.sock", "dns-state.json"

#: A name, and an address that the kernel knows it by.
Mapped = tuple[str, IPAddress]

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Listener:
    """A set of rules and the port that serves it: names of any of the patterns may be asked for."""

    port: int
    patterns: tuple[NamePattern, ...]

    def to_json(self) -> list[Any]:
        """A value for JSON."""
        return [self.port, [each.pattern for each in self.patterns]]

    @classmethod
    def from_json(cls, value: list[Any]) -> Self:
        """What `to_json` made. Raises ValueError or TypeError for anything else."""
        port, patterns = value
        return cls(int(port), tuple(NamePattern(str(each)) for each in patterns))


@dataclass(frozen=True, slots=True)
class State:
    """All that the agent tells.

    ``watched``: whose addresses the agent wants to know before a client does. ``known``: mappings that the
    kernel has, and until when (seconds of the monotonic clock). ``least``: seconds that the agent keeps a
    mapping at least.
    """

    listeners: Mapping[Layer7Id, Listener] = field(default_factory=lambda: MappingProxyType({}))
    watched: frozenset[NamePattern] = frozenset()
    known: Mapping[Mapped, float] = field(default_factory=lambda: MappingProxyType({}))
    protection: Protection = field(default_factory=Protection)
    least: int = 0

    def to_json(self) -> dict[str, Any]:
        """A value for JSON."""
        return {
            "listeners": {key: each.to_json() for key, each in self.listeners.items()},
            "watched": sorted(each.pattern for each in self.watched),
            "known": [[name, str(address), until] for (name, address), until in self.known.items()],
            "protection": self.protection.to_json(),
            "least": self.least,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` made. Raises ValueError, TypeError or KeyError for anything else."""
        return cls(
            {Layer7Id(key): Listener.from_json(each) for key, each in value["listeners"].items()},
            frozenset(NamePattern(each) for each in value["watched"]),
            {(name, ip_address(address)): float(until) for name, address, until in value["known"]},
            Protection.from_json(value["protection"]),
            int(value["least"]),
        )

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises OSError."""
        document = {"format": _FORMAT, "boot": _BOOT.read_text().strip(), **self.to_json()}
        temporary = path.with_name(f"{path.name}.new")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(document, file)
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file; nothing is served when there is none, or one of another boot or version.

        Raises ValueError for one that is damaged.
        """
        try:
            document = json.loads(path.read_bytes())
            if document["format"] != _FORMAT or document["boot"] != _BOOT.read_text().strip():
                return cls()
            return cls.from_json(document)
        except FileNotFoundError:
            return cls()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} is damaged ({error!r}); remove it, the agent writes it anew") from error
