"""Text becomes plain values that still know their line: YAML and JSON, read defensively.

PyYAML's composer (with libyaml) recurses in C, so a file of brackets ends the process, and its
constructor guesses: ``no`` is false, ``010`` is eight, a second key silently wins, an alias can
stand for a billion nodes. So only libyaml's events are used. They are put together here without
recursion, with a limit on depth and on nodes (an alias counts for everything it stands for), and a
scalar that YAML readers disagree about is refused until it is quoted.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml
from yaml import events

from kinety.policy.error import Finding, PolicyError

#: Characters of all documents of one call together.
MAX_TEXT = 4 * 1024 * 1024
MAX_DEPTH = 64
#: Values of all documents of one file together.
MAX_NODES = 500_000

#: A line and a column, both from 1.
Place = tuple[int, int]
#: Keys and indices that lead from a document's root to a value.
Path = tuple[str | int, ...]

_NOT_TEXT = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})\Z")
#: What some YAML reader takes for a boolean or a number (YAML 1.1 and 1.2 type repositories).
_ODD = re.compile(
    r"""(?: yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF
      | [-+]?0[0-7_]+ | [-+]?0o[0-7]+ | [-+]?0x[0-9a-fA-F_]+ | [-+]?0b[01_]+
      | [-+]?[0-9][0-9_]* (?::[0-5]?[0-9])* (?:\.[0-9_]*)? (?:[eE][-+]?[0-9]+)?
      | [-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)? | [-+]?\.(?:inf|Inf|INF) | \.(?:nan|NaN|NAN)
      )\Z""",
    re.VERBOSE,
)
_STRING_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_COLLECTION_TAGS = frozenset({"!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})


@dataclass(frozen=True, slots=True)
class Document:
    """A file's text, and the name to call it by in errors and origins."""

    file: str
    text: str


class LocatedMapping(dict[str, Any]):
    """A mapping that knows where it, its keys and its values were written."""

    __slots__ = ("place", "places")

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.places: dict[str, Place] = {}


class LocatedSequence(list[Any]):
    """A sequence that knows where it and its items were written."""

    __slots__ = ("place", "places")

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.places: list[Place] = []


@dataclass(frozen=True, slots=True)
class Null:
    """A value left blank or written ``null``; never the same as a key left out."""

    def __str__(self) -> str:
        return "null"


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A plain scalar that YAML readers do not agree on, such as ``yes``, ``010`` or ``1.10``."""

    text: str

    def __str__(self) -> str:
        return self.text


NULL = Null()


@dataclass(frozen=True, slots=True)
class Tree:
    """One document of a YAML stream: its file and its root value with places."""

    file: str
    root: Any
    place: Place

    def place_of(self, path: Path) -> Place:
        """Where the value at a path was written; as near to it as the document goes."""
        value, place = self.root, self.place
        for step in path:
            if not _has(value, step):
                break
            place = value.places[step]
            value = value[step]
        return place

    def value_at(self, path: Path) -> Any:
        """The value at a path; None where the document has none."""
        value = self.root
        for step in path:
            if not _has(value, step):
                return None
            value = value[step]
        return value

    def finding(self, path: Path, message: str, hint: str = "") -> Finding:
        """A finding about the value at a path."""
        line, column = self.place_of(path)
        return Finding(self.file, line, column, path_text(path), message, hint)


def _has(value: Any, step: str | int) -> bool:
    if isinstance(value, LocatedMapping):
        return step in value
    return isinstance(value, LocatedSequence) and isinstance(step, int) and step < len(value)


_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


def path_text(path: Path) -> str:
    """A path for people: ``spec.ingress[0].fromEndpoints``."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif _PLAIN_KEY.match(step):
            parts.append(f".{step}" if parts else step)
        else:
            parts.append(f'["{step}"]')
    return "".join(parts)


def too_large(file: str) -> Finding:
    """The finding about documents beyond the limit on text."""
    limit = MAX_TEXT // (1024 * 1024)
    return Finding(
        file, 0, 0, "", f"more than {limit} MiB of policy text in one go", "split it and apply the parts"
    )


def read(document: Document) -> Iterator[Tree]:
    """The documents of a YAML stream (or a JSON text) in order; blank ones are left out.

    Raises PolicyError for text that is not YAML, and for YAML that nobody should write: duplicate
    keys, keys that are not strings, tags, merge keys, values nested or aliased beyond the limits.
    """
    found = _NOT_TEXT.search(document.text)
    if found:
        line = document.text.count("\n", 0, found.start()) + 1
        raise PolicyError([_not_text(document.file, line, f"character {ord(found.group()):#04x}")])
    try:
        yield from _Builder(document.file).trees(document.text)
    except yaml.MarkedYAMLError as error:
        raise PolicyError([_malformed(document, error)]) from error
    except yaml.YAMLError as error:
        raise PolicyError([Finding(document.file, 0, 0, "", f"not YAML: {error}")]) from error


def _not_text(file: str, line: int, what: str) -> Finding:
    return Finding(
        file, line, 1, "", f"not a text file: it has the {what}", "policies are UTF-8 text, YAML or JSON"
    )


def _malformed(document: Document, error: yaml.MarkedYAMLError) -> Finding:
    mark = error.problem_mark or error.context_mark
    message = f"not YAML: {error.problem or error.context}"
    hint = ""
    lines = document.text.splitlines()
    # libyaml puts the end of the text on a line after the last one.
    line, column = (min(mark.line + 1, max(1, len(lines))), mark.column + 1) if mark else (0, 0)
    margin = lines[mark.line][: mark.column + 1] if mark and mark.line < len(lines) else ""
    if margin.isspace() and "\t" in margin:
        message, hint = "a tab where YAML wants spaces", "indent with spaces"
    elif error.context and error.context_mark:
        hint = f"see what begins in line {error.context_mark.line + 1} ({error.context})"
    return Finding(document.file, line, column, "", message, hint)


class _Frame:
    """A collection that is being read."""

    __slots__ = ("anchor", "key", "key_place", "last_key", "nodes", "value")

    def __init__(self, value: LocatedMapping | LocatedSequence, anchor: str | None, nodes: int) -> None:
        self.value = value
        self.anchor = anchor
        self.nodes = nodes
        #: The key whose value is next, and the key that was read last.
        self.key: str | None = None
        self.last_key: str | None = None
        self.key_place: Place = (0, 0)


class _Builder:
    """Puts one stream's events together. ``nodes`` counts values, those behind aliases every time."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._nodes = 0
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._root: Any = NULL
        self._place: Place = (1, 1)

    def trees(self, text: str) -> Iterator[Tree]:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, events.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, events.MappingStartEvent):
                self._open(event, LocatedMapping(place_of(event)))
            elif isinstance(event, events.SequenceStartEvent):
                self._open(event, LocatedSequence(place_of(event)))
            elif isinstance(event, events.CollectionEndEvent):
                self._close()
            elif isinstance(event, events.AliasEvent):
                self._alias(event)
            elif isinstance(event, events.DocumentStartEvent):
                self._anchors.clear()
                self._root, self._place = NULL, place_of(event)
            elif isinstance(event, events.DocumentEndEvent) and self._root is not NULL:
                yield Tree(self._file, self._root, self._place)

    def _scalar(self, event: events.ScalarEvent) -> None:
        value: Any = event.value
        if event.tag is not None:
            if event.tag not in _STRING_TAGS:
                self._refuse(
                    event, f"the YAML tag {event.tag!r} is not supported", "write the value without it"
                )
        elif event.implicit[0]:
            value = _resolve(value)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1)
        self._nodes += 1
        self._put(event, value)

    def _open(self, event: events.CollectionStartEvent, value: LocatedMapping | LocatedSequence) -> None:
        if event.tag is not None and event.tag not in _COLLECTION_TAGS:
            self._refuse(event, f"the YAML tag {event.tag!r} is not supported", "write the value without it")
        if len(self._stack) >= MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels", "no policy needs that")
        self._nodes += 1
        self._put(event, value)
        self._stack.append(_Frame(value, event.anchor, self._nodes))

    def _close(self) -> None:
        frame = self._stack.pop()
        if frame.anchor is not None:
            self._anchors[frame.anchor] = (frame.value, self._nodes - frame.nodes + 1)

    def _alias(self, event: events.AliasEvent) -> None:
        known = self._anchors.get(event.anchor or "")
        if known is None:
            self._refuse(event, f"*{event.anchor} refers to nothing that is complete before it")
        value, nodes = known
        self._nodes += nodes
        self._put(event, value)

    def _put(self, event: events.Event, value: Any) -> None:
        if self._nodes > MAX_NODES:
            self._refuse(
                event, f"more than {MAX_NODES} values, counting what aliases stand for", "split the file"
            )
        if not self._stack:
            self._root, self._place = value, place_of(event)
            return
        frame = self._stack[-1]
        holder = frame.value
        if isinstance(holder, LocatedSequence):
            holder.append(value)
            holder.places.append(place_of(event))
        elif frame.key is None:
            self._key(event, frame, holder, value)
        else:
            holder[frame.key] = value
            holder.places[frame.key] = frame.key_place
            frame.key = None

    def _key(self, event: events.Event, frame: _Frame, holder: LocatedMapping, key: Any) -> None:
        if type(key) is not str:
            if isinstance(key, LocatedMapping | LocatedSequence):
                self._refuse(event, "a key that is itself a mapping or a list", "keys are strings")
            self._refuse(event, f"the key {spelled(key)} is not a string", f'quote it: "{spelled(key)}"')
        if key == "<<":
            self._refuse(event, "merge keys (<<) are not supported", "write the fields out")
        if key in holder:
            first = holder.places[key][0]
            self._refuse(event, f"the key {key!r} is given twice, first in line {first}", "keep one of them")
        frame.key = frame.last_key = key
        frame.key_place = place_of(event)

    def _refuse(self, event: events.Event, message: str, hint: str = "") -> NoReturn:
        path: list[str | int] = []
        for frame in self._stack:
            innermost = frame is self._stack[-1]
            if isinstance(frame.value, LocatedSequence):
                path.append(len(frame.value) if innermost else len(frame.value) - 1)
            elif (key := frame.key if innermost else frame.last_key) is not None:
                path.append(key)
        line, column = place_of(event)
        where = path_text(tuple(path)) if len(path) < 12 else ""
        raise PolicyError([Finding(self._file, line, column, where, message, hint)])


def place_of(event: events.Event) -> Place:
    """Where an event of a YAML text begins."""
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _resolve(text: str) -> Any:
    """What a plain scalar means, where everyone agrees on it."""
    if text in _NULL:
        return NULL
    if text[0] not in "-+.0123456789yYnNtTfFoO":
        return text
    if _INTEGER.match(text):
        return int(text)
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    return Ambiguous(text) if _ODD.match(text) else text


def spelled(value: Any) -> str:
    """A scalar as it was written, for messages."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
