"""Mappings of which exactly one field is given, and lists that may only be so long."""

from collections.abc import Sized
from typing import Any

from kinety.policy.document import Path
from kinety.policy.report import Report
from kinety.policy.schema import Model


def given(item: Model) -> dict[str, Any]:
    """The fields an item has, by the names they are written with."""
    return {
        info.alias or name: value
        for name, info in type(item).model_fields.items()
        if (value := getattr(item, name)) is not None
    }


def only(report: Report, path: Path, item: Model) -> str | None:
    """The one field that the item at a path has, as it is written; None when that was reported."""
    names = list(given(item))
    if len(names) == 1:
        return names[0]
    if names:
        report.add(path, f"{' and '.join(names)} cannot be in one item", "make a second item for it")
    else:
        known = ", ".join(info.alias or name for name, info in type(item).model_fields.items())
        report.add(path, "the item says nothing", f"write one of {known}")
    return None


def check_length(report: Report, path: Path, items: Sized, most: int, what: str, hint: str) -> None:
    """Report a list, or a text, that has more than ``most`` of ``what``."""
    if len(items) > most:
        report.add(path, f"{len(items)} {what}; the limit is {most}", hint)
