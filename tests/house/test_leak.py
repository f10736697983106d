"""The leak check sees what this run leaves behind, and nothing of others."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kinety.kernel import bpffs
from kinety.kernel.namespace import Namespace
from kinety.testing.wait import wait_until
from tests import leak


@contextmanager
def told() -> Iterator[list[str]]:
    """The lines about what the block has left behind, filled when it ends."""
    before = leak.inventory()
    lines: list[str] = []
    yield lines
    lines += leak.difference(before, leak.inventory())


@pytest.mark.needs("root", "netns")
def test_a_namespace_is_accused_by_the_number_in_its_name() -> None:
    ours, theirs = (f"kt-{number}-{secrets.token_hex(4)}" for number in (os.getpid(), 1))
    made: list[Namespace] = []
    try:
        with told() as lines:
            made += [Namespace.create(ours), Namespace.create(theirs)]
    finally:
        for each in made:
            each.remove()
    assert f"network namespace {ours}" in lines
    assert not any(theirs in line for line in lines)


@pytest.mark.needs("root", "bpffs")
def test_a_file_system_is_accused_below_the_runs_directory_only(tmp_path: Path) -> None:
    # Beside the run's directory, where another run would have its own.
    elsewhere = Path(tempfile.gettempdir()).parent / f"kt-{secrets.token_hex(4)}"
    places = (tmp_path / "bpf", elsewhere)
    try:
        with told() as lines:
            for place in places:
                bpffs.mount(place)
    finally:
        for place in places:
            if place.is_dir() and bpffs.mounted(place):
                bpffs.unmount(place)
        elsewhere.rmdir()
    assert lines == [f"bpf file system at {places[0]}"]


@pytest.mark.parametrize("directory", ["kinety-x1", "other"])
def test_a_labs_directory_is_accused(directory: str) -> None:
    path = Path(tempfile.gettempdir()) / directory
    with told() as lines:
        path.mkdir()
    path.rmdir()
    assert lines == ([f"directory {path}"] if directory.startswith("kinety-") else [])


def test_a_process_whose_parent_is_gone_is_accused() -> None:
    """It reads from a pipe, so that it ends with the test."""
    reading, writing = os.pipe()
    orphan = f"{sys.executable} -c 'import os; os.read({reading}, 1)' >/dev/null & echo $!"
    try:
        with told() as lines:
            pid = subprocess.check_output(["sh", "-c", orphan], pass_fds=[reading])
            found = f"process {int(pid)} "
    finally:
        os.close(writing)
        os.close(reading)
    assert any(line.startswith(found) for line in lines)
    wait_until(lambda: not Path(f"/proc/{int(pid)}").exists(), 10)


def test_every_command_of_the_run_uses_its_directory() -> None:
    program = "import os, tempfile; print(tempfile.gettempdir(), os.environ['KINETY_TEST_RUN'])"
    printed = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert printed.split() == [tempfile.gettempdir(), str(os.getpid())]
