"""DNS names and patterns of them: toFQDNs, rules.dns, serverNames."""

import re

from kinety.model.layer7 import NamePattern
from kinety.policy.document import Path
from kinety.policy.report import Report
from kinety.policy.schema import DomainName

MAX_NAME = 255
EVERY_NAME = "*"
_DEEP = "**."
#: RFC 1035, 2.3.1, and what people really have: underscores, and labels that begin with a digit.
_NAME = re.compile(r"[-a-z0-9_]+(?:\.[-a-z0-9_]+)*\Z")
_PATTERN = re.compile(r"[-a-z0-9_*]+(?:\.[-a-z0-9_*]+)*\Z")


def names_of(report: Report, path: Path, item: DomainName) -> NamePattern | None:
    """The names that one item of toFQDNs or rules.dns means; None when something was reported."""
    if (item.name is None) == (item.pattern is None):
        problem = "neither matchName nor matchPattern" if item.name is None else "matchName and matchPattern"
        report.add(path, f"exactly one of the two is needed, there is {problem}", "write one of them")
        return None
    if item.pattern is not None:
        return pattern_of(report, (*path, "matchPattern"), item.pattern)
    assert item.name is not None
    return _name(report, (*path, "matchName"), item.name)


def pattern_of(report: Report, path: Path, text: str) -> NamePattern | None:
    """A pattern of names; None when something was reported."""
    if text == EVERY_NAME:
        return NamePattern(text)
    folded = _folded(report, path, text)
    if folded is None:
        return None
    tail = folded.removeprefix(_DEEP)
    if not _PATTERN.match(tail):
        hint = "write letters, digits, - and _ between dots, with * for any part of a label"
        report.add(path, f"{text!r} is not a pattern of DNS names", hint)
        return None
    if "**" in tail:
        report.add(path, f"{text!r}: ** stands at the front only, as in **.example.com", "write * here")
        return None
    if folded == EVERY_NAME:
        report.add(path, f"{text!r} is not clear about labels", f'write "{EVERY_NAME}" for every name')
        return None
    return NamePattern(folded)


def pattern_named(text: str) -> NamePattern:
    """A pattern of names, as it is written in matchPattern. Raises ValueError for what is none."""
    folded = text.lower().removesuffix(".")
    tail = folded.removeprefix(_DEEP)
    if text != EVERY_NAME and (not _PATTERN.match(tail) or "**" in tail or len(text) > MAX_NAME):
        raise ValueError(f"{text!r} is not a pattern of DNS names; write *.example.com, or {EVERY_NAME}")
    return NamePattern(folded)


def is_name(text: str) -> bool:
    """Whether a text in lower case is a DNS name."""
    return len(text) <= MAX_NAME and _NAME.match(text) is not None


def _name(report: Report, path: Path, text: str) -> NamePattern | None:
    folded = _folded(report, path, text)
    if folded is None:
        return None
    if "*" in folded:
        report.add(path, f"{text!r}: a name is taken as it is, * included", "write matchPattern")
        return None
    if not _NAME.match(folded):
        hint = "write letters, digits, - and _ between dots; xn--... for others"
        report.add(path, f"{text!r} is not a DNS name", hint)
        return None
    return NamePattern(folded)


def _folded(report: Report, path: Path, text: str) -> str | None:
    """A name in lower case without its final dot; None when it was reported as empty or too long."""
    if not text:
        report.add(path, "the name is empty", "write a name such as example.com")
        return None
    if len(text) > MAX_NAME:
        message = f"a name of {len(text)} characters; DNS names have at most {MAX_NAME}"
        report.add(path, message, "write a shorter one")
        return None
    return text.lower().removesuffix(".")
