"""What rules ask of the content of traffic, beyond addresses and ports."""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NewType

#: Hexadecimal content address of a `Layer7`: equal content, equal address, on every node.
Layer7Id = NewType("Layer7Id", str)
NO_LAYER7 = Layer7Id("")
#: Of a regular expression, in instructions of RE2; a proxy refuses larger ones.
LARGEST_EXPRESSION = 32_768


class Mismatch(StrEnum):
    """What happens to a request whose header does not match; None refuses the request."""

    LOG = "LOG"
    ADD = "ADD"
    DELETE = "DELETE"
    REPLACE = "REPLACE"


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """A header a request must have, with this value unless ``value`` is None.

    ``secret`` is (namespace, name) of the secret that holds the value instead.
    """

    name: str
    value: str | None = None
    secret: tuple[str, str] | None = None
    mismatch: Mismatch | None = None


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One kind of request. Texts are extended regular expressions over the whole value; "" is any."""

    method: str = ""
    path: str = ""
    host: str = ""
    headers: tuple[HeaderMatch, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class NamePattern:
    """DNS names: lower case, without the final dot; ``*`` stands for any part of a label.

    A leading ``**.`` stands for one label and more; ``*`` alone is every name.
    """

    pattern: str

    def matches(self, name: str) -> bool:
        """Whether a name, lower case and without the final dot, is of this pattern."""
        return _expression(self.pattern).fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Layer7:
    """Content an allow rule lets through, of one kind: any of its requests, questions or server names.

    Without any of them it lets nothing through; it never stands for everything.
    ``policies`` are the names of those that ask for it, which whoever is refused is told.
    """

    http: tuple[HttpRule, ...] = ()
    dns: tuple[NamePattern, ...] = ()
    server_names: tuple[NamePattern, ...] = ()
    policies: tuple[str, ...] = ()

    @property
    def kinds(self) -> frozenset[str]:
        """Which kinds of content are asked about: ``http``, ``dns``, ``server_names``."""
        return frozenset(name for name in ("http", "dns", "server_names") if getattr(self, name))


@lru_cache(maxsize=4096)
def _expression(pattern: str) -> re.Pattern[str]:
    if pattern == "*":
        return re.compile(".*")
    deep = pattern.startswith("**.")
    tail = re.escape(pattern.removeprefix("**.")).replace(r"\*", "[^.]*")
    return re.compile(rf"(?:[^.]+\.)+{tail}" if deep else tail)
