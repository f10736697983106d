"""Putting other programs under all endpoints, as it travels over the socket."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from kinety.api.overview import Configuration, Program

_STRICT: dict[str, Any] = {"extra": "forbid", "use_attribute_docstrings": True}
_PLAIN: dict[str, Any] = {"use_attribute_docstrings": True}

#: Bytes of an object that fit into a request, in base64 and with what is around it.
OBJECT_LIMIT = 3 * 1000 * 1000


@dataclass(frozen=True, slots=True)
class ReloadRequest:
    """What is to change about the programs; null leaves it as it is.

    When everything is null, the packaged object is loaded as it is on disk now.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    ipv4: bool | None = None
    ipv6: bool | None = None
    events: Literal["flows", "drops", "none"] | None = None
    shadow: bool | None = None
    fragments: bool | None = None
    hooks: bool | None = None
    object: str | None = None
    """A BPF object of this version's contract, in base64."""
    file: str | None = None
    """What refusals call that object."""


@dataclass(frozen=True, slots=True)
class CutOff:
    """A version of IP that is switched off, and endpoints that have an address of it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    ip_version: int
    endpoints: int


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """The answer to a reload: what judges every packet now, until the agent starts again."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    changed: bool
    """False: these programs were in force already, and nothing was loaded."""
    version: str
    """Names the programs by their object and configuration."""
    configuration: Configuration
    before: tuple[Program, ...]
    after: tuple[Program, ...]
    endpoints: int
    """Endpoints that are judged by other programs now."""
    load_seconds: float
    """What reading and verifying the programs took; packets met the former ones meanwhile."""
    move_seconds: float
    """From the first endpoint that met the new programs to the last."""
    cut_off: tuple[CutOff, ...]
    """Versions of IP whose packets are dropped."""
