"""What the process serves: as the agent tells it, and as files in the run directory keep it.

They let a restarted process serve before the agent has spoken. Times in them count from the start of the
machine, so they are of one boot only.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from kinety.model.layer7 import Layer7Id, NamePattern
from kinety.proxy.dns import journal
from kinety.proxy.dns.journal import Mapped
from kinety.proxy.dns.question import ResponseCode
from kinety.proxy.dns.rebinding import Protection
from kinety.proxy.dns.stamp import damaged, fresh, is_current, opened, stamp

#: Files of the run directory: the agent's socket, the state, and the mappings in it.
SOCKET, STATE, KNOWN = "dns.sock", "dns-state.json", "dns-known.json"

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
    mapping at least. ``denied``: what is said of names that may not be asked for.
    """

    listeners: Mapping[Layer7Id, Listener] = field(default_factory=lambda: MappingProxyType({}))
    watched: frozenset[NamePattern] = frozenset()
    known: Mapping[Mapped, float] = field(default_factory=lambda: MappingProxyType({}))
    protection: Protection = field(default_factory=Protection)
    least: int = 0
    denied: ResponseCode = ResponseCode.REFUSED

    def to_json(self) -> dict[str, Any]:
        """A value for JSON."""
        return {
            "listeners": {key: each.to_json() for key, each in self.listeners.items()},
            "watched": sorted(each.pattern for each in self.watched),
            "known": _known_to_json(self.known),
            "protection": self.protection.to_json(),
            "least": self.least,
            "denied": int(self.denied),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` made. Raises ValueError, TypeError or KeyError for anything else."""
        return cls(
            {Layer7Id(key): Listener.from_json(each) for key, each in value["listeners"].items()},
            frozenset(NamePattern(each) for each in value["watched"]),
            _known_from_json(value["known"]),
            Protection.from_json(value["protection"]),
            int(value["least"]),
            ResponseCode(value["denied"]),
        )

    def save(self, directory: Path) -> None:
        """Write all but the mappings, whole or not at all. Raises OSError."""
        _write(directory / STATE, replace(self, known={}).to_json())

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What was written; nothing is served when that is nothing, or of another boot or version.

        Raises ValueError for what is damaged.
        """
        state, known = _read(directory / STATE), journal.read(directory / KNOWN)
        try:
            read = cls.from_json(state) if state else cls()
            return replace(read, known=known) if known else read
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise damaged(directory / STATE, error) from error


def _known_to_json(known: Mapping[Mapped, float]) -> list[list[Any]]:
    return [[name, str(address), until] for (name, address), until in known.items()]


def _known_from_json(value: list[list[Any]]) -> dict[Mapped, float]:
    return {(name, ip_address(address)): float(until) for name, address, until in value}


def _write(path: Path, value: dict[str, Any]) -> None:
    with opened(fresh(path)) as file:
        json.dump({**stamp(_FORMAT), **value}, file)
    fresh(path).replace(path)


def _read(path: Path) -> dict[str, Any] | None:
    """A file of this boot and version, if there is one. Raises ValueError for what is damaged."""
    try:
        document = json.loads(path.read_bytes())
        return document if is_current(document, _FORMAT) else None
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(path, error) from error
