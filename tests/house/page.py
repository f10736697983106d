"""Markdown pages of the project: their fenced blocks, and what a console block says a command prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.house.source import relative, tracked

FENCE = re.compile(
    r"(?:<!--\s*(?P<mark>run|refused|node|background|stopped)\s*-->\s*\n)?"
    r"^(?P<indent>[ ]*)```(?P<kind>\w+)\n(?P<body>.*?)^[ ]*```$",
    re.S | re.M,
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: where, what kind, and what the comment above it asks for."""

    file: str
    line: int
    kind: str
    mark: str | None
    body: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def pages() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


def blocks() -> Iterator[Block]:
    for path in pages():
        text = path.read_text()
        for found in FENCE.finditer(text):
            line = text.count("\n", 0, found.start("kind")) + 1
            yield Block(relative(path), line, found["kind"], found["mark"], found["body"])


def steps(body: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block and what the block shows below it."""
    for part in re.split(r"^\$ ", body, flags=re.M)[1:]:
        command, _, shown = part.partition("\n")
        while command.endswith("\\"):
            more, _, shown = shown.partition("\n")
            command = command[:-1] + more.lstrip("> ")
        yield command, shown.strip()


def pattern(shown: str) -> str:
    """A regular expression for what is shown; ``…`` alone on a line is any number of lines."""
    parts = re.split(r"^\s*…\s*$\n?", shown, flags=re.M)
    return "(?s:.*)".join(re.escape(part.strip("\n")).replace("…", ".*") + r"\s*" for part in parts)
