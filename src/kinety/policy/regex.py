"""Extended regular expressions of HTTP rules: which ones the proxy will refuse.

What will match requests is RE2 (the language of egrep and more, without look-around and references
back), over the whole value. Where it is installed (``kinety[layer7]``), it is asked. Elsewhere an expression
is judged by Python's own: what RE2 does not have is refused by name, what Python writes differently is
rewritten, and the rest has to compile. What gets through and RE2 still refuses is refused when the proxy is
told, later.
"""

import re
import warnings
from typing import Protocol

from kinety.model.layer7 import LARGEST_EXPRESSION

try:
    import re2
except ImportError:
    re2 = None

#: RE2 refuses to repeat more often.
MAX_REPEAT = 1000
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_CLASS = re.compile(r"\[\^?\]?(?:\[:\^?[a-z]+:\]|\\.|[^\]\\])*\]", re.DOTALL)
_FOREIGN = (
    (re.compile(r"\(\?<?[=!]"), "it looks ahead or behind with (?=, (?!, (?<= or (?<!"),
    (re.compile(r"\(\?[>(#]"), "it has a group that begins with (?>, (?( or (?#"),
    (re.compile(r"\(\?P="), "it refers back to a group"),
    (re.compile(r"[*+?}]\+"), "it repeats possessively"),
)
_REPEATS = re.compile(r"\{([0-9]+)(?:,([0-9]*))?\}")
#: Escapes that RE2 has and Python has not, or not so.
_CLASSES_BY_NAME = re.compile(r"\\[pP](?:\{\^?[A-Za-z_]+\}|[A-Z])")
_POSIX = re.compile(r"\[:\^?[a-z]+:\]")


class Expression(Protocol):
    """An expression that was understood."""

    def fullmatch(self, text: str, /) -> object | None:
        """Something when the whole text matches."""


def mistake(text: str) -> str | None:
    """What is wrong with an expression, in a few words; None when nothing was found."""
    if any(each.isdigit() and each != "0" for each in _ESCAPED.findall(text)):
        return "it refers back to a group"
    bare = _CLASS.sub("x", _ESCAPED.sub("x", text))
    for pattern, problem in _FOREIGN:
        if pattern.search(bare):
            return problem
    for least, most in _REPEATS.findall(bare):
        if any(len(each) > 4 or int(each) > MAX_REPEAT for each in (least, most) if each):
            return f"it repeats something more than {MAX_REPEAT} times"
    return _by_python(text) if re2 is None else _by_re2(text)


def _by_re2(text: str) -> str | None:
    try:
        size = _Re2(text).size
    except re2.error as error:
        said: str = error.args[0].decode(errors="replace")
        return said
    if size > LARGEST_EXPRESSION:
        return f"it takes {size} instructions, and a proxy has room for {LARGEST_EXPRESSION}"
    return None


class _Re2:
    """An expression as Envoy has it: of bytes, not of characters. Raises re2.error for mistakes."""

    def __init__(self, text: str) -> None:
        options = re2.Options()
        options.log_errors = False
        options.encoding = re2.Options.Encoding.LATIN1
        self._pattern = re2.compile(text.encode(), options)
        #: Instructions.
        self.size: int = self._pattern.programsize

    def fullmatch(self, text: str, /) -> object | None:
        found: object | None = self._pattern.fullmatch(text.encode())
        return found


def _by_python(text: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(_rewritten(text))
    except re.error as error:
        return error.msg
    except (RecursionError, OverflowError):
        return "it is nested too deeply"
    return None


def compiled(text: str) -> Expression | None:
    """An expression without mistakes; None where only RE2 knows what it matches, and is not installed."""
    if re2 is not None:
        return _Re2(text)
    if _CLASSES_BY_NAME.search(text) or _POSIX.search(text) or "(?" in text or "{," in text:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return re.compile(_rewritten(text))


def _rewritten(text: str) -> str:
    """The expression as Python reads it, near enough to be compiled."""
    found = _POSIX.sub("a-z", _CLASSES_BY_NAME.sub(r"\\w", text))
    return re.sub(r"\(\?([a-zA-Z]+)\)", "", found.replace(r"\z", r"\Z"))
