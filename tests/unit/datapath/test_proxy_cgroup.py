"""Where the cgroup of proxies is: by what is mounted, and for whom."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinety.abi import Redirect
from kinety.datapath import proxy_cgroup
from kinety.datapath.proxy_cgroup import (
    cgroup_of_proxies,
    cgroup_root,
    enter,
    make_proxy_cgroup,
    remove,
)
from kinety.datapath.settings import Settings

FORMER = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu"
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw"
PART = "42 31 0:38 /system.slice /run/part rw,relatime - cgroup2 cgroup2 rw"
ELSEWHERE = r"43 31 0:38 / /mnt/my\040cgroups rw master:1 propagate_from:2 - cgroup2 none rw,nsdelegate"
PROCESSES = "cgroup.procs"


def mounted(monkeypatch: pytest.MonkeyPatch, directory: Path, *lines: str) -> None:
    """As if these were all mounts."""
    file = directory / "mountinfo"
    file.write_text("".join(f"{line}\n" for line in lines))
    monkeypatch.setattr(proxy_cgroup, "_MOUNTS", file)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ((FORMER, UNIFIED), "/sys/fs/cgroup/unified"),
        ((ELSEWHERE, FORMER), "/mnt/my cgroups"),
        ((PART, UNIFIED), "/sys/fs/cgroup/unified"),
    ],
    ids=["beside the former ones", "elsewhere", "and a part of them"],
)
def test_the_topmost_is_found_wherever_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: tuple[str, ...], found: str
) -> None:
    mounted(monkeypatch, tmp_path, *lines)
    assert cgroup_root() == Path(found)


@pytest.mark.parametrize(
    "lines", [(), (FORMER,), (FORMER, PART)], ids=["nothing", "the former ones", "a part"]
)
def test_where_none_is_mounted_that_is_said_and_removing_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: tuple[str, ...]
) -> None:
    mounted(monkeypatch, tmp_path, *lines)
    for attempt in (cgroup_root, lambda: make_proxy_cgroup(tmp_path)):
        with pytest.raises(OSError, match=r"^no cgroups of version 2 are mounted$"):
            attempt()
    remove(tmp_path)


@pytest.mark.parametrize("redirect", list(Redirect), ids=lambda each: each.name.lower())
def test_only_nat_has_one_and_each_node_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, redirect: Redirect
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setattr(proxy_cgroup, "cgroup_root", lambda: root)
    made = {cgroup_of_proxies(Settings(Path(pins), redirect=redirect)) for pins in ("/a", "/b", "/a")}
    assert made == set(root.iterdir()) if redirect is Redirect.NAT else made == {None}
    assert len(made) == (2 if redirect is Redirect.NAT else 1)


@pytest.fixture
def pins() -> Iterator[Path]:
    """A directory of nobody's, whose cgroup goes with the test."""
    made = Path(f"/kt/{os.getpid()}-{secrets.token_hex(4)}")
    yield made
    remove(made)


@pytest.mark.needs("root", "cgroup2")
def test_who_enters_is_in_it_and_it_stays_until_they_are_gone(pins: Path) -> None:
    cgroup = make_proxy_cgroup(pins)
    assert make_proxy_cgroup(pins) == cgroup
    assert cgroup.parent == cgroup_root()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        enter(cgroup, process.pid)
        assert (cgroup / PROCESSES).read_text().split() == [str(process.pid)]
        remove(pins)
        assert cgroup.exists(), "a proxy that serves keeps it"
        assert process.stdin is not None
        process.stdin.close()
    remove(pins)
    assert not cgroup.exists()
    with pytest.raises(FileNotFoundError):
        enter(cgroup, os.getpid())
