"""Addresses of endpoints, as they travel over the socket."""

from dataclasses import dataclass
from typing import Any, ClassVar

_PLAIN: dict[str, Any] = {"use_attribute_docstrings": True}


@dataclass(frozen=True, slots=True)
class Address:
    """An address that an endpoint has, or had a short while ago."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    address: str
    state: str
    """`in-use`, or `quarantine`: given up, and kept from others for a while."""
    endpoint: str
    """`namespace/name` of the endpoint that has it, or had it last."""
    since: float
    """When that endpoint got it."""
    pool: str | None
    """The pool it is of; null for one that was asked for, or whose pool is no more."""
    quarantine_seconds: float | None = None
    """Until others may have it; null while it is in use."""
