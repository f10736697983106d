"""Policies written out inside another document."""

import yaml
from yaml import events

from kinety.policy.document import Document, LocatedMapping


def inline_policy(document: Document, policy: LocatedMapping) -> Document:
    """A policy written inside a scenario as a document of its own, whose lines are the scenario's.

    The text is the scenario's own, with everything around the policy blanked and the policy moved to
    the left edge. It stands for itself: anchors outside it are not there any more.
    """
    lines = document.text.splitlines()
    first, column = policy.place
    last, end = _end(document.text, policy.place)
    indent = column - 1
    kept = [""] * (first - 1)
    for number in range(first, last + 1):
        line = lines[number - 1] if number <= len(lines) else ""
        if number == last:
            line = line[:end]
        outside = number > first and line[:indent].strip()
        if not outside:
            line = line[indent:]
        elif line.lstrip().startswith("#"):
            line = ""
        kept.append(line)
    return Document(document.file, "\n".join(kept).rstrip() + "\n")


def _end(text: str, place: tuple[int, int]) -> tuple[int, int]:
    """Where the mapping that begins at a place ends: the line, from 1, and how many columns of it belong."""
    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        start, end = event.start_mark, event.end_mark
        assert start is not None, "the parser marks every event"
        assert end is not None
        if isinstance(event, events.MappingStartEvent):
            depth += bool(depth) or (start.line + 1, start.column + 1) == place
        elif isinstance(event, events.MappingEndEvent) and depth:
            depth -= 1
            if not depth:
                return end.line + 1, end.column
    raise AssertionError(f"no mapping begins at {place}")
