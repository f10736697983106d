"""Tests mirror the source; files and functions stay small enough to read in one go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.feature import ROOT
from tests.house.source import modules, relative, tracked

PYTHON_FILE, PYTHON_FUNCTION = 400, 60
C_FILE, C_FUNCTION = 300, 60

# What may be longer, and why. A line whose file or function has become short again must go.
EXCEPTIONS = {
    "src/kinety/plan/engine.py": "one class, the order of its steps is the subject",
    "src/kinety/agent/options.py:_parser": "one call an option; splitting the list would only hide it",
}

VAGUE = {"util", "utils", "common", "helper", "helpers", "manager", "base", "misc", "core"}


def test_unit_tests_mirror_the_source() -> None:
    wrong = []
    for path in sorted((ROOT / "tests/unit").rglob("test_*.py")):
        package = path.parent.relative_to(ROOT / "tests/unit")
        folder = ROOT / "src/kinety" / package
        stem = path.stem.removeprefix("test_")
        if str(package) in {"tools", "bench"}:
            folder = ROOT / package
        if not any((folder / f"{name}.py").exists() for name in prefixes(stem)):
            wrong.append(f"{relative(path)} tests no module of {relative(folder)}")
    assert not wrong, "\n".join(wrong)


def prefixes(stem: str) -> Iterator[str]:
    """``index_order`` may test ``index_order`` or an aspect of ``index``."""
    words = stem.split("_")
    for count in range(len(words), 0, -1):
        yield "_".join(words[:count])


def test_names_say_something() -> None:
    vague = [module.name for module in modules() if VAGUE & set(module.name.split(".")[-1].split("_"))]
    assert not vague


def python_sizes() -> Iterator[tuple[str, int, int]]:
    """What, its lines, and how many it may have."""
    for module in modules():
        if module.package == "abi":
            continue
        path = relative(module.path)
        yield path, len(module.path.read_text().splitlines()), PYTHON_FILE
        for function in module.functions():
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            yield f"{path}:{function.name}", lines, PYTHON_FUNCTION


def c_functions(text: str) -> Iterator[tuple[str, int]]:
    """Functions in kernel style: a name with parentheses before a brace in the first column."""
    lines = text.splitlines()
    start: int | None = None
    for number, line in enumerate(lines):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            name = re.findall(r"(\w+)\s*\(", " ".join(lines[max(0, start - 6) : start]))
            yield (name[-1] if name else f"line {start}"), number - start + 1
            start = None


def c_sources() -> list[Path]:
    return [path for path in tracked() if relative(path).startswith("bpf/") and path.suffix in {".c", ".h"}]


def c_sizes() -> Iterator[tuple[str, int, int]]:
    for path in c_sources():
        text = path.read_text()
        yield relative(path), len(text.splitlines()), C_FILE
        for name, lines in c_functions(text):
            yield f"{relative(path)}:{name}", lines, C_FUNCTION


def test_files_and_functions_are_short() -> None:
    sizes = [*python_sizes(), *c_sizes()]
    long = {what: f"{lines} lines, at most {most}" for what, lines, most in sizes if lines > most}
    new = [f"{what}: {size}" for what, size in long.items() if what not in EXCEPTIONS]
    assert not new, "split them, or say in EXCEPTIONS why not:\n" + "\n".join(new)
    stale = EXCEPTIONS.keys() - long.keys()
    assert not stale, f"no longer too long: {', '.join(sorted(stale))}"
