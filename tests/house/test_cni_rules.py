"""Every rule of the CNI specification in `docs/reference/cni-rules.md` names tests that are there."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.feature import ROOT

PAGE = ROOT / "docs" / "reference" / "cni-rules.md"
NAMED = re.compile(r"`([a-z0-9_/]+)::([a-z0-9_]+)`")


@cache
def named_in(file: str) -> frozenset[str]:
    path = ROOT / "tests" / f"{file}.py"
    tree = ast.parse(path.read_text()) if path.exists() else ast.Module([], [])
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_every_rule_is_held_by_tests() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|")][2:]
    assert len(rows) > 40
    wrong = [row for row in rows if not NAMED.search(row)]
    for row in rows:
        for file, name in NAMED.findall(row):
            if f"test_{name}" not in named_in(file):
                wrong.append(f"{file}: there is no test_{name}")
    assert not wrong, "\n".join(wrong)
