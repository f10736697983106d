"""Every input that once broke a reader, and small good ones: read or refused, as their names say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.corpus import CORPUS, kept
from tests.fuzz.target import TARGETS

BYTES_LIMIT = 200 << 10
INPUTS = [pytest.param(name, path, id=f"{name}/{path.stem}") for name in TARGETS for path in kept(name)]


@pytest.mark.parametrize(("target", "path"), INPUTS)
def test_an_input_is_read_or_refused_as_its_name_says(target: str, path: Path) -> None:
    read = TARGETS[target]
    if path.name.startswith("read-"):
        read(path.read_bytes())
        return
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        read(path.read_bytes())


def test_the_corpus_is_small_and_every_file_is_for_a_target() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < BYTES_LIMIT
    assert sorted(files) == sorted(path for name in TARGETS for path in kept(name))
    assert all(path.name.startswith(("read-", "refused-")) for path in files)
    assert all(kept(name, "read") for name in TARGETS), "a target without a good input starts from nothing"
