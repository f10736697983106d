from pathlib import Path

from kinety.api import departure


def test_what_was_left_is_waiting_until_it_is_forgotten(tmp_path: Path) -> None:
    assert departure.waiting(tmp_path) == ()
    for container, interface in (("c2", "eth0"), ("c1", "net 1"), ("c2", "eth0")):
        departure.leave(tmp_path, container, interface)
    assert departure.waiting(tmp_path) == (("c1", "net 1"), ("c2", "eth0"))
    for _ in range(2):
        departure.forget(tmp_path, "c1", "net 1")
    assert departure.waiting(tmp_path) == (("c2", "eth0"),)


def test_only_root_may_leave_any(tmp_path: Path) -> None:
    departure.leave(tmp_path / "state", "c1", "eth0")
    assert (tmp_path / "state/departures").stat().st_mode & 0o777 == 0o700


def test_files_of_others_say_nothing(tmp_path: Path) -> None:
    departure.leave(tmp_path, "c1", "eth0")
    (tmp_path / "departures" / "README").touch()
    assert departure.waiting(tmp_path) == (("c1", "eth0"),)


def test_all_of_it_goes_with_its_place(tmp_path: Path) -> None:
    departure.remove(tmp_path)
    departure.leave(tmp_path, "c1", "eth0")
    departure.remove(tmp_path)
    assert list(tmp_path.iterdir()) == []
