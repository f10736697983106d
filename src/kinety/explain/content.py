"""What becomes of one request where a verdict redirects to rules about content."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from kinety.model.layer7 import HeaderMatch, HttpRule, Layer7
from kinety.policy.regex import compiled


class Fate(StrEnum):
    """What the rules say of a request."""

    PASSES = "passes"
    REFUSED = "is refused"
    DEPENDS = "depends on what is not known here"


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request as far as it is known; None is unknown.

    ``path`` is as the server sees it; ``headers`` are all that rules may ask for, by names in lower case.
    """

    method: str | None
    path: str | None
    host: str | None = None
    headers: Mapping[str, str] | None = None


def fate_of(layer7: Layer7, request: Request) -> Fate:
    """Whether any of the rules lets a request through. Rules about other content let none through."""
    fates = {_fate(each, request) for each in layer7.http}
    for fate in (Fate.PASSES, Fate.DEPENDS):
        if fate in fates:
            return fate
    return Fate.REFUSED


def content_text(layer7: Layer7) -> str:
    """What may pass, in a few words."""
    return ", ".join(content_texts(layer7)) or "nothing"


def content_texts(layer7: Layer7) -> tuple[str, ...]:
    """What may pass, each rule in a few words."""
    said = [_request_text(each) for each in layer7.http]
    said += [f"DNS questions for {each.pattern}" for each in layer7.dns]
    said += [f"TLS server name {each.pattern}" for each in layer7.server_names]
    return tuple(said)


def _fate(rule: HttpRule, request: Request) -> Fate:
    matches = [
        _matches(rule.method, request.method),
        _matches(rule.path, request.path),
        _matches(rule.host, request.host),
        *(_has(each, request.headers) for each in rule.headers),
    ]
    if False in matches:
        return Fate.REFUSED
    return Fate.DEPENDS if None in matches else Fate.PASSES


def _has(match: HeaderMatch, headers: Mapping[str, str] | None) -> bool | None:
    """Whether a header is as a rule wants it, or made so; None when that cannot be told."""
    if match.mismatch is not None:
        return True
    if headers is None:
        return None
    value = headers.get(match.name.lower())
    if value is None:
        return False
    return None if match.secret is not None else match.value in (None, value)


def _matches(expression: str, value: str | None) -> bool | None:
    """Whether a value is one of an expression's; None when that cannot be told."""
    if not expression:
        return True
    pattern = compiled(expression)
    return None if pattern is None or value is None else pattern.fullmatch(value) is not None


def _request_text(rule: HttpRule) -> str:
    parts = [rule.method or "any method", rule.path or "any path"]
    if rule.host:
        parts.append(f"at {rule.host}")
    if rule.headers:
        parts.append(f"with {', '.join(each.name for each in rule.headers)}")
    return " ".join(parts)
