"""Content: what an item of toPorts asks of traffic, as a set that can be compared and united."""

from collections.abc import Iterator, Mapping
from typing import Any

from kinety.testing.oracle.name import folded, pattern_of
from kinety.testing.oracle.statement import Content

#: (name, value, secret, mismatch) of a header.
_Header = tuple[str, str | None, tuple[str, str] | None, str | None]


def content_of(item: Mapping[str, Any], namespace: str) -> Content:
    """The union of an item's rules; nothing when every content may pass.

    ``namespace`` is where secrets are that name none.
    """
    rules = item.get("rules") or {}
    found: list[tuple[object, ...]] = [_request(each, namespace) for each in rules.get("http") or ()]
    found += [("dns", pattern_of(each)) for each in rules.get("dns") or ()]
    found += [("server name", folded(each)) for each in item.get("serverNames") or ()]
    return frozenset(found)


def kinds(content: Content) -> set[object]:
    """``http``, ``dns``, ``server name``: which of them content is about."""
    return {each[0] for each in content}


def _request(item: Mapping[str, Any], namespace: str) -> tuple[object, ...]:
    texts = [item.get(name) or "" for name in ("method", "path", "host")]
    return ("http", *texts, frozenset(_headers(item, namespace)))


def _headers(item: Mapping[str, Any], namespace: str) -> Iterator[_Header]:
    for text in item.get("headers") or ():
        name, space, value = text.partition(" ")
        yield name.removesuffix(":"), value.strip() if space else None, None, None
    for match in item.get("headerMatches") or ():
        secret = match.get("secret")
        kept = (secret.get("namespace") or namespace or "default", secret["name"]) if secret else None
        yield match["name"], match.get("value"), kept, match.get("mismatch")
