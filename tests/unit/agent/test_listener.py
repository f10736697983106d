import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kinety.agent.listener import StateLock, listen, notify


def test_only_the_owner_may_open_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "agent.sock"
    mask = os.umask(0)
    try:
        with listen(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert os.umask(0) == 0
    finally:
        os.umask(mask)


def test_a_dead_agents_socket_is_replaced_and_a_living_ones_is_not(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    listen(path).close()
    assert path.is_socket()
    with listen(path), pytest.raises(OSError, match="another agent answers"):
        listen(path)


def test_a_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="not a socket"):
        listen(path)
    assert path.read_text() == "precious"


def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        listen(tmp_path / ("x" * 120))


def test_one_agent_a_state_directory(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    program = "import pathlib, sys; from kinety.agent.listener import StateLock; "
    program += "StateLock(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", program, str(directory)]
    with StateLock(directory):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        other = subprocess.run(command, capture_output=True, text=True, check=False)
        assert f"another agent (pid {os.getpid()}) uses the state directory {directory}" in other.stderr
    assert subprocess.run(command, check=False).returncode == 0


def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1")
        assert channel.recv(100) == b"READY=1"
    name = f"kinety-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("STOPPING=1")
        assert channel.recv(100) == b"STOPPING=1"
