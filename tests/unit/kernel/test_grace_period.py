from pathlib import Path

import pytest

from kinety.kernel.grace_period import Hurry


def test_it_is_on_while_anybody_is_in_a_hurry(tmp_path: Path) -> None:
    switch = tmp_path / "switch"
    switch.write_text("0\n")
    hurry = Hurry(switch, tmp_path / "mark")
    with hurry:
        with hurry:
            assert switch.read_bytes()[:1] == b"1"
        assert switch.read_bytes()[:1] == b"1"
    assert switch.read_bytes()[:1] == b"0"
    with pytest.raises(ZeroDivisionError), hurry:
        raise ZeroDivisionError
    assert switch.read_bytes()[:1] == b"0"
    assert not (tmp_path / "mark").exists()


def test_what_one_that_was_killed_has_left_on_is_put_off(tmp_path: Path) -> None:
    switch, mark = tmp_path / "switch", tmp_path / "mark"
    switch.write_text("0\n")
    Hurry(switch, mark).__enter__()
    assert switch.read_bytes()[:1] == b"1"
    with Hurry(switch, mark):
        assert switch.read_bytes()[:1] == b"1"
    assert switch.read_bytes()[:1] == b"0"
    assert not mark.exists()


def test_what_the_operator_has_set_stays(tmp_path: Path) -> None:
    switch = tmp_path / "switch"
    switch.write_text("1\n")
    with Hurry(switch, tmp_path / "mark"):
        pass
    assert switch.read_text() == "1\n"


def test_nothing_happens_without_the_switch(tmp_path: Path) -> None:
    with Hurry(tmp_path / "switch", tmp_path / "mark"):
        pass
    assert not (tmp_path / "switch").exists()
