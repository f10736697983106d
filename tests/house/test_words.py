"""Tracked files speak of the project alone: no machine's paths, no leftovers, no secrets."""

from __future__ import annotations

import re
from pathlib import Path

from tests.house.source import relative, tracked

# Written in pieces, so that this file does not accuse itself.
FORBIDDEN = {
    "a path of one machine": r"(?<![\w.$}/])/(?:"
    + "|".join(["wor" + "k", "roo" + "t", "hom" + "e"])
    + r")/\w",
    "a note to oneself": r"\b(?:" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b",
    "an unfinished body": "raise Not" + "Implemented" + "Error",
    "a merge marker": r"^(?:<{7}|>{7}|={7})(?: |$)",
    "a private key": "BEGIN (?:RSA |EC |OPENSSH )?PRIVATE" + " KEY",
}
BINARY = {".bin", ".png", ".o", ".xz"}


def lines_of(path: Path) -> list[str]:
    return [] if path.suffix in BINARY else path.read_text().splitlines()


def test_no_forbidden_words() -> None:
    wrong = []
    for path in tracked():
        for number, line in enumerate(lines_of(path), 1):
            for what, pattern in FORBIDDEN.items():
                if re.search(pattern, line):
                    wrong.append(f"{relative(path)}:{number}: {what}: {line.strip()[:80]}")
    assert not wrong, "\n".join(wrong)


def test_text_files_end_with_a_newline_and_have_no_trailing_space() -> None:
    wrong = []
    for path in tracked():
        if path.suffix in BINARY or path.suffix == ".json" or not (text := path.read_text()):
            continue
        if not text.endswith("\n"):
            wrong.append(f"{relative(path)}: no newline at its end")
        wrong += [
            f"{relative(path)}:{number}: white space at the end"
            for number, line in enumerate(text.splitlines(), 1)
            if line != line.rstrip()
        ]
    assert not wrong, "\n".join(wrong)


def test_every_c_file_says_its_licence() -> None:
    sources = [path for path in tracked() if path.suffix in {".c", ".h"}]
    assert sources
    assert not [
        relative(path) for path in sources if "SPDX-License-Identifier:" not in path.read_text()[:200]
    ]


def test_nothing_large_is_tracked() -> None:
    assert not [relative(path) for path in tracked() if path.stat().st_size > 512 * 1024]
