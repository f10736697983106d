"""Extended regular expressions of HTTP rules, as far as mistakes can be seen without the engine for them.

What will match requests is RE2 (the language of egrep and more, without look-around and references
back), over the whole value. It is not at hand here, so an expression is judged by Python's own: what
RE2 does not have is refused by name, what Python writes differently is rewritten, and the rest has
to compile. What gets through and RE2 still refuses is refused when the proxy is told, later.
"""

import re
import warnings

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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(_rewritten(text))
    except re.error as error:
        return error.msg
    except (RecursionError, OverflowError):
        return "it is nested too deeply"
    return None


def compiled(text: str) -> re.Pattern[str] | None:
    """An expression without mistakes as Python's, to match whole values; None where the two may differ."""
    if _CLASSES_BY_NAME.search(text) or _POSIX.search(text) or "(?" in text:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return re.compile(_rewritten(text))


def _rewritten(text: str) -> str:
    """The expression as Python reads it, near enough to be compiled."""
    found = _POSIX.sub("a-z", _CLASSES_BY_NAME.sub(r"\\w", text))
    return re.sub(r"\(\?([a-zA-Z]+)\)", "", found.replace(r"\z", r"\Z"))
