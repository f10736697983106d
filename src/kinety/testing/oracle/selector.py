"""Label selectors: ``matchLabels`` and ``matchExpressions``, of whatever has keys with values."""

from collections.abc import Callable, Mapping
from typing import Any

Selector = Mapping[str, Any]


def matches(selector: Selector, values_of: Callable[[str], list[str]]) -> bool:
    """Whether all of a selector holds. ``values_of`` gives the values of a key as it is written."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if value not in values_of(key):
            return False
    for expression in selector.get("matchExpressions") or ():
        present = values_of(expression["key"])
        wanted = expression.get("values") or []
        held = {
            "In": any(value in wanted for value in present),
            "NotIn": not any(value in wanted for value in present),
            "Exists": bool(present),
            "DoesNotExist": not present,
        }
        if not held[expression["operator"]]:
            return False
    return True


def matches_plainly(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether a selector holds for the labels in an object's metadata."""
    return matches(selector, lambda key: [labels[key]] if key in labels else [])


def keys(selector: Selector) -> list[str]:
    """Every key that a selector names, as it is written."""
    named = list(selector.get("matchLabels") or ())
    return named + [expression["key"] for expression in selector.get("matchExpressions") or ()]


def keys_wanted(selector: Selector) -> list[str]:
    """The keys that whoever is selected must have."""
    wanted = list(selector.get("matchLabels") or ())
    for expression in selector.get("matchExpressions") or ():
        if expression["operator"] in ("In", "Exists"):
            wanted.append(expression["key"])
    return wanted
