"""What a restarted process finds."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from kinety.model.layer7 import Layer7Id, NamePattern
from kinety.proxy.dns import journal, stamp, state
from kinety.proxy.dns.question import ResponseCode
from kinety.proxy.dns.rebinding import Protection
from kinety.proxy.dns.state import Listener, State

STATE = State(
    {Layer7Id("ab"): Listener(10001, (NamePattern("*.example.com"),)), Layer7Id("cd"): Listener(10002, ())},
    frozenset((NamePattern("*"),)),
    {("www.example.com", ip_address("2001:db8::1")): 12.5},
    Protection.of([ip_address("192.0.2.1")]),
    30,
    ResponseCode.NAME_ERROR,
)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    STATE.save(tmp_path)
    assert State.load(tmp_path) == replace(STATE, known={})
    journal.write(tmp_path / state.KNOWN, STATE.known)
    assert State.load(tmp_path) == STATE
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_without_a_file_nothing_is_served(tmp_path: Path) -> None:
    assert State.load(tmp_path) == State()


def test_times_of_another_boot_mean_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    STATE.save(tmp_path)
    journal.write(tmp_path / state.KNOWN, STATE.known)
    (tmp_path / "boot").write_text("another\n")
    monkeypatch.setattr(stamp, "_BOOT", tmp_path / "boot")
    assert State.load(tmp_path) == State()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "boot": "x"}'])
def test_a_damaged_file_is_said_to_be(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "boot").write_text("x\n")
    monkeypatch.setattr(stamp, "_BOOT", tmp_path / "boot")
    (tmp_path / state.STATE).write_text(text)
    with pytest.raises(ValueError, match="remove it"):
        State.load(tmp_path)
