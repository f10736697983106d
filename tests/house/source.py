"""The tracked files of the project, and the Python modules among them as syntax trees."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.feature import ROOT

SOURCE = ROOT / "src"


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, by its absolute name, and where."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Module:
    """A Python file of src: its dotted name and its tree."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        """The part after ``kinety``: what the table of rungs speaks of; empty for kinety itself."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else ""

    def imports(self) -> Iterator[Import]:
        """Everything imported, also inside functions and under TYPE_CHECKING: knowing is knowing."""
        is_package = self.path.name == "__init__.py"
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, node.lineno)
            elif isinstance(node, ast.ImportFrom):
                above = self.name.split(".")
                if node.level:
                    above = above[: len(above) - node.level + is_package]
                stem = ".".join((above if node.level else []) + ([node.module] if node.module else []))
                for alias in node.names:
                    yield Import(f"{stem}.{alias.name}", node.lineno)

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


@functools.cache
def modules() -> tuple[Module, ...]:
    found = []
    for path in sorted((SOURCE / "kinety").rglob("*.py")):
        parts = list(path.relative_to(SOURCE).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found.append(Module(".".join(parts), path, ast.parse(path.read_text(), str(path))))
    return tuple(found)


@functools.cache
def tracked() -> tuple[Path, ...]:
    """What git tracks or is about to (new files that are not ignored), as far as it exists."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return tuple(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))
