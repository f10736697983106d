"""JSON read and written without ``json``, which imports ``re`` and ``enum``: half of a start of the plugin.

What reads is the part in C that ``json`` itself uses. What that does not take is left to ``json.loads``, for
the error's sake: the part in C can only raise one where ``json`` has been imported (a SystemError otherwise).
"""

from __future__ import annotations

from _json import encode_basestring_ascii, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Strict:
    """How to read, in the terms of ``json.JSONDecoder``."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> float:
        raise ValueError(f"{name} is no JSON")


_scan = make_scanner(_Strict)  # type: ignore[arg-type]
_SPACE = " \t\n\r"
_WORDS = {None: "null", True: "true", False: "false"}


def read(data: bytes) -> Any:
    """The value of a text in UTF-8. Raises ValueError."""
    text = data.decode().strip(_SPACE)
    try:
        value, end = _scan(text, 0)
    except (StopIteration, SystemError):
        end = -1
    if end != len(text):
        import json

        return json.loads(text, parse_constant=_Strict.parse_constant)
    return value


def write(value: Any) -> str:
    """The text of a value, on one line and in ASCII. Raises TypeError for what is no JSON."""
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{write(key)}: {write(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(write, value)) + "]"
    raise TypeError(f"{type(value).__name__} is no value of JSON")
