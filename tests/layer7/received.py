"""What a server was asked, as it saw it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Received:
    """One request. ``path`` is as it came, with its query; names of headers are in lower case.

    ``client`` and ``port`` are whom the server talks to, ``size`` the bytes of the body.
    """

    version: str
    method: str
    path: str
    host: str
    headers: Mapping[str, str]
    client: str
    port: int
    size: int = 0
