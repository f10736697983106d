"""A document without the annotation that keeps one of its policies out of force, and otherwise as written.

The text is edited, not written anew: comments, order and quotes are somebody's. Whether the edit says what
it should is then found out by reading it: nothing but the policy's mode may have changed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import yaml
from yaml import events

from kinety.model.rule import Mode, Policy, PolicyKey
from kinety.policy.document import (
    Document,
    LocatedMapping,
    LocatedSequence,
    Path,
    Place,
    Tree,
    place_of,
    read,
)
from kinety.policy.error import Finding, PolicyError
from kinety.policy.mode import ANNOTATIONS
from kinety.policy.parse import Object, parse_objects

_REST_OF_LINE = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")


class _Pair(NamedTuple):
    """Where a key begins and its value ends in the text, and whether that is between braces."""

    start: int
    end: int
    flow: bool


def promoted(document: Document, key: PolicyKey) -> Document:
    """The document with this policy in force.

    Raises PolicyError when it is in force already, and when its annotation cannot be taken off.
    """
    before = parse_objects([document]).by_key
    found = before.get(key)
    if not isinstance(found, Policy) or found.mode is Mode.ENFORCED:
        raise PolicyError([_finding(document, before, key, "is in force already", "")])
    wanted = _without_lines({**before, key: _enforced(found)})
    pairs = _pairs(document.text)
    for place in _places(document, found.mode):
        text = _without(document.text, pairs[place])
        edited = Document(document.file, text)
        try:
            if _without_lines(parse_objects([edited]).by_key) == wanted:
                return edited
        except PolicyError:
            continue
    hint = "take the annotation off in the file, and apply that"
    raise PolicyError([_finding(document, before, key, "cannot be put into force by itself", hint)])


def _enforced(policy: Policy) -> Policy:
    return replace(policy, rules=tuple(replace(rule, mode=Mode.ENFORCED) for rule in policy.rules))


def _without_lines(objects: Mapping[PolicyKey, Object]) -> dict[PolicyKey, Object]:
    """Objects to compare: where they are in the file makes no difference."""
    return {
        key: replace(
            each,
            rules=tuple(replace(rule, origin=replace(rule.origin, line=0)) for rule in each.rules),
        )
        if isinstance(each, Policy)
        else each
        for key, each in objects.items()
    }


def _finding(
    document: Document, objects: Mapping[PolicyKey, Object], key: PolicyKey, message: str, hint: str
) -> Finding:
    found = objects.get(key)
    line = found.rules[0].origin.line if isinstance(found, Policy) and found.rules else 0
    return Finding(document.file, line, 0, "metadata.annotations", f"{key} {message}", hint)


def _places(document: Document, mode: Mode) -> Iterator[Place]:
    """Where the annotation of a mode is written; all of them, if it is alone there."""
    name = ANNOTATIONS[mode]
    for tree in read(document):
        for path in _objects(tree):
            metadata = tree.value_at((*path, "metadata"))
            annotations = tree.value_at((*path, "metadata", "annotations"))
            if isinstance(annotations, LocatedMapping) and name in annotations:
                alone = len(annotations) == 1
                yield metadata.places["annotations"] if alone else annotations.places[name]


def _objects(tree: Tree) -> Iterator[Path]:
    yield ()
    items = tree.value_at(("items",))
    if isinstance(items, LocatedSequence):
        for index in range(len(items)):
            yield ("items", index)


def _without(text: str, pair: _Pair) -> str:
    """The text without a key and its value: without their lines, or without a comma."""
    if not pair.flow:
        start = text.rfind("\n", 0, pair.start) + 1
        rest = _REST_OF_LINE.match(text, pair.end)
        if rest is not None and text[start : pair.start].isspace():
            return text[:start] + text[rest.end() :]
        return text[: pair.start] + text[pair.end :]
    before, after = text[: pair.start], text[pair.end :]
    if after.lstrip().startswith(","):
        return before + after.lstrip()[1:].lstrip()
    return before.rstrip().removesuffix(",") + after


class _Open(NamedTuple):
    """A collection that is being read; ``keys`` is the key of a mapping whose value is next, or None."""

    flow: bool
    keys: list[events.Event] | None


def _pairs(text: str) -> dict[Place, _Pair]:
    """Every key of every mapping, by its place."""
    found: dict[Place, _Pair] = {}
    stack: list[_Open] = []
    end = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        match event:
            case events.MappingStartEvent() | events.SequenceStartEvent():
                is_mapping = isinstance(event, events.MappingStartEvent)
                stack.append(_Open(bool(event.flow_style), [] if is_mapping else None))
                continue
            case events.CollectionEndEvent():
                if stack.pop().flow:
                    end = _index(event.end_mark)
            case events.ScalarEvent() | events.AliasEvent():
                end = _index(event.end_mark)
            case _:
                continue
        if not stack or (keys := stack[-1].keys) is None:
            continue
        if keys:
            key = keys.pop()
            found[place_of(key)] = _Pair(_index(key.start_mark), end, stack[-1].flow)
        else:
            keys.append(event)
    return found


def _index(mark: Any) -> int:
    """How many characters of the text are before a mark, which every event of a text has."""
    index: int = mark.index
    return index
