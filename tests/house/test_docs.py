"""Documents stay true: links lead somewhere, policies in them are what they claim, marked examples run.

In a Markdown file, ``<!-- run -->`` before a ``console`` block has its ``$`` lines run in the project's
folder, and what they print must be what the block shows; a line ``…`` stands for any lines.
``<!-- refused -->`` before a ``yaml`` block says that the policy in it must be refused; any other policy
must be accepted.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kinety.policy.document import Document
from kinety.policy.error import PolicyError
from kinety.policy.parse import parse_policies
from tests.feature import ROOT
from tests.house.source import relative, tracked

FENCE = re.compile(
    r"(?:<!--\s*(?P<mark>run|refused)\s*-->\s*\n)?^(?P<indent>[ ]*)```(?P<kind>\w+)\n(?P<body>.*?)^[ ]*```$",
    re.S | re.M,
)
LINK = re.compile(r"\[[^\]\n]*\]\((?!https?:|mailto:|#)([^)\s#]+)(?:#[^)\s]*)?\)")
POLICY_KINDS = ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy")


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


def policies() -> list[Block]:
    named = re.compile(rf"^kind: (?:{'|'.join(POLICY_KINDS)})$", re.M)
    return [block for block in blocks() if block.kind == "yaml" and named.search(block.body)]


def test_links_lead_to_files() -> None:
    wrong = []
    for path in pages():
        for found in LINK.finditer(re.sub(r"^```.*?^```", "", path.read_text(), flags=re.S | re.M)):
            if not (path.parent / found[1]).exists():
                wrong.append(f"{relative(path)}: {found[1]} does not exist")
    assert not wrong, "\n".join(wrong)


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    listed = {(ROOT / "docs" / name).resolve() for name in LINK.findall(index)}
    missing = [
        relative(path)
        for path in pages()
        if path.is_relative_to(ROOT / "docs") and path.name != "README.md" and path.resolve() not in listed
    ]
    assert not missing, f"docs/README.md leaves out {', '.join(missing)}"


def test_policies_in_documents_are_what_they_claim() -> None:
    wrong = []
    for block in policies():
        try:
            refused = not parse_policies([Document(block.file, block.body)])
        except PolicyError:
            refused = True
        if refused != (block.mark == "refused"):
            wrong.append(f"{block} is {'refused' if refused else 'accepted'}")
    assert not wrong, "\n".join(wrong)


def test_marked_examples_print_what_they_show() -> None:
    for block in blocks():
        if block.mark == "run":
            assert block.kind == "console", f"{block}: only console blocks can be run"
            check(block)


def check(block: Block) -> None:
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", COLUMNS="100")
    for command, shown in steps(block.body):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        assert re.fullmatch(pattern(shown), done.stdout.strip()), f"{block}: {command}\n{done.stdout}"


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
