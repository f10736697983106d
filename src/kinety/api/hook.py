"""Filters of the node's operator behind the verdict, as they travel over the socket."""

from dataclasses import dataclass
from typing import Any, ClassVar

_STRICT: dict[str, Any] = {"extra": "forbid", "use_attribute_docstrings": True}
_PLAIN: dict[str, Any] = {"use_attribute_docstrings": True}


@dataclass(frozen=True, slots=True)
class HookObject:
    """An object of filters, compiled with `kinety_hook.h`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    file: str
    """Where it came from, for messages."""
    object: str
    """Its bytes in base64."""


@dataclass(frozen=True, slots=True)
class HookFilter:
    """A filter at one of the two points. ``dropped`` counts since its hook was first loaded."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    direction: str
    """`egress`: asked about what leaves an endpoint; `ingress`: about what enters one."""
    program: str
    id: int
    """The kernel's number."""
    verified_instructions: int
    jited_bytes: int
    dropped_packets: int
    dropped_bytes: int


@dataclass(frozen=True, slots=True)
class Hook:
    """Filters that came in one object."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    name: str
    slot: int
    """Filters are asked in the order of slots; the first that drops ends it."""
    filters: tuple[HookFilter, ...]
    maps: tuple[str, ...]
    pins: str
    """The directory on the BPF file system where its maps are, by name."""
