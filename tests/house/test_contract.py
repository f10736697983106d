"""What C and Python share is written once, in bpf/abi, and every map explains itself there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kinety import abi
from tests.feature import ROOT

MAPS = (ROOT / "bpf/abi/maps.h").read_text()
SHORTEST_FACT = 12


def map_comments() -> dict[str, list[str]]:
    """Each map's name and the sentences of the comment above it."""
    found = {}
    for comment, name in re.findall(
        r"/\*((?:(?!\*/).)*)\*/\s*struct \{(?:(?!\n\}).)*\n\} (\w+) SEC", MAPS, re.S
    ):
        lines = [line.strip(" *\t") for line in comment.splitlines()]
        found[name] = [line for line in lines if line]
    return found


def test_every_map_has_three_facts_above_it() -> None:
    declared = set(re.findall(r"\} (\w+) SEC\(\"\.maps\"\)", MAPS)) - {"rule_set"}
    comments = map_comments()
    comments["rule_sets"] = next(
        [line.strip(" *\t") for line in text.splitlines() if line.strip(" *\t")]
        for text in re.findall(r"/\*((?:(?!\*/).)*)\*/\s*struct rule_set \{", MAPS, re.S)
    )
    assert declared == comments.keys()
    for name, facts in comments.items():
        text = " ".join(facts)
        assert re.search(r"\bWritten by\b", text), f"{name}: who writes it?"
        assert re.search(r"\bRead\b", text), f"{name}: who reads it, and what does a miss mean?"
        meaning = text.split("Written by")[0]
        assert len(meaning) >= SHORTEST_FACT, f"{name}: what does a row mean?"


def test_generated_twin_names_every_map() -> None:
    declared = set(re.findall(r"\} (\w+) SEC\(\"\.maps\"\)", MAPS))
    text = "".join(path.read_text() for path in Path(abi.__file__).parent.glob("*.py"))
    assert declared
    assert not [name for name in declared if f'"{name}"' not in text]


@pytest.mark.needs("clang")
def test_generated_files_are_up_to_date(tmp_path: Path) -> None:
    """`make abi` in a copy of the tree changes no file: what is committed is what the headers say."""
    for name in ("Makefile", "bpf", "tools", "docs/reference", "src/kinety/abi"):
        copy(ROOT / name, tmp_path / name)
    (tmp_path / "build").mkdir()
    for name in ("build/.apt", "build/.venv"):
        (tmp_path / name).touch()
    command = ["make", "-o", "build/.apt", "-o", "build/.venv", f"PYTHON={sys.executable}", "abi"]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    generated = ["bpf/abi/contract_hash.h", "docs/reference/reasons.md"]
    generated += [f"src/kinety/abi/{path.name}" for path in (tmp_path / "src/kinety/abi").glob("*.py")]
    assert len(generated) > 4
    for name in generated:
        assert (tmp_path / name).read_text() == (ROOT / name).read_text(), f"run `make abi`: {name} is stale"


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(source, target)


def test_reason_numbers_are_never_used_twice() -> None:
    numbers = re.findall(r"REASON\((\w+), (\d+), ", (ROOT / "bpf/abi/reasons.h").read_text())
    assert len(numbers) > 10
    assert len({number for _, number in numbers}) == len(numbers)
