"""Mappings on disk: what comes, goes, is cut off by a kill, and does not fit."""

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from kinety.proxy.dns import journal, stamp
from kinety.proxy.dns.journal import Journal, Mapped

ONE, TWO, THREE = ((f"{name}.org", ip_address(f"2001:db8::{number}")) for number, name in enumerate("abc", 1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "known"


def played(path: Path, story: Callable[[Journal], Awaitable[None]]) -> None:
    async def play() -> None:
        made = Journal(path, {ONE: 1.0})
        await story(made)
        made.close()

    asyncio.run(play())


def test_what_comes_and_goes_is_read_again(path: Path) -> None:
    async def story(made: Journal) -> None:
        made.note(TWO, 2.0)
        made.note(ONE, None)
        assert journal.read(path) == {ONE: 1.0}, "nothing is written yet"
        made.flush()
        assert journal.read(path) == {TWO: 2.0}
        made.note(TWO, 3.0)

    played(path, story)
    assert journal.read(path) == {TWO: 3.0}
    assert path.stat().st_mode & 0o777 == 0o600


def test_half_a_line_at_the_end_is_nothing_and_the_next_process_does_not_go_on_behind_it(path: Path) -> None:
    async def story(made: Journal) -> None:
        made.note(TWO, 2.0)

    played(path, story)
    path.write_text(path.read_text()[:-5])
    found = journal.read(path)
    assert found == {ONE: 1.0}
    played(path, story)
    assert journal.read(path) == {ONE: 1.0, TWO: 2.0}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}\n", "HEAD\nnonsense\n", 'HEAD\n["a", "nowhere", 1]\n'])
def test_other_damage_is_told(path: Path, text: str) -> None:
    journal.write(path, {})
    path.write_text(text.replace("HEAD\n", path.read_text()))
    with pytest.raises(ValueError, match="remove it"):
        journal.read(path)


def test_what_was_of_another_boot_is_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert journal.read(path) is None
    journal.write(path, {ONE: 1.0})
    (path.parent / "boot").write_text("another")
    monkeypatch.setattr(stamp, "_BOOT", path.parent / "boot")
    assert journal.read(path) is None


def test_a_long_file_is_written_anew_and_what_comes_meanwhile_is_in_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_CHUNK", 2)
    monkeypatch.setattr(journal, "_SPARE", 10)

    def lines() -> int:
        return len(path.read_text().splitlines())

    known: dict[Mapped, float] = {(f"{each}.org", ONE[1]): float(each) for each in range(7)}

    async def story(made: Journal) -> None:
        for until in range(24):
            made.note(THREE, float(until))
        made.flush()
        await made.keep_short(known)
        assert lines() == 1 + 1 + 24, "not yet"
        made.note(THREE, 24.0)
        made.flush()
        writing = asyncio.create_task(made.keep_short(known))
        await asyncio.sleep(0)
        made.note(THREE, 25.0)
        made.flush()
        made.note(("0.org", ONE[1]), None)
        await writing
        made.note(TWO, 2.0)

    played(path, story)
    gone = {mapped: until for mapped, until in known.items() if until}
    assert journal.read(path) == {**gone, THREE: 25.0, TWO: 2.0}
    assert lines() == 1 + 7 + 2 + 1


class Full:
    """A file on a disk that is full, after a few bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, text: str) -> None:
        with self._path.open("a") as file:
            file.write(text[:7])
        raise OSError(28, "No space left on device")

    def flush(self) -> None: ...
    def close(self) -> None: ...


def test_after_a_full_disk_all_is_written_anew(path: Path) -> None:
    async def story(made: Journal) -> None:
        made._file = Full(path)  # type: ignore[assignment]
        made.note(TWO, 2.0)
        with pytest.raises(OSError, match="No space"):
            made.flush()
        made.note(THREE, 3.0)
        made.flush()
        assert journal.read(path) == {ONE: 1.0}
        await made.keep_short({ONE: 1.0, TWO: 2.0, THREE: 3.0})
        assert journal.read(path) == {ONE: 1.0, TWO: 2.0, THREE: 3.0}

    played(path, story)
