"""DNS names and patterns of them."""

import re
from collections.abc import Mapping

_LETTERS = "[-a-z0-9_]"


def pattern_of(item: Mapping[str, str]) -> str:
    """What ``matchName`` or ``matchPattern`` says, in lower case and without a final dot."""
    return folded(item["matchName"] if "matchName" in item else item["matchPattern"])


def folded(text: str) -> str:
    """A name or a pattern in lower case and without a final dot."""
    return text.lower().removesuffix(".")


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern holds for a name: ``*`` is part of a label, ``**.`` at the front labels."""
    if pattern == "*":
        return True
    front, tail = "", pattern
    if pattern.startswith("**."):
        front, tail = rf"({_LETTERS}+\.)+", pattern.removeprefix("**.")
    body = re.escape(tail).replace(re.escape("*"), f"{_LETTERS}*")
    return re.fullmatch(front + body, folded(name)) is not None
