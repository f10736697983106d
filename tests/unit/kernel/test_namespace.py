import os
import secrets
import socket
import threading
from collections.abc import Iterator

import pytest

from kinety.kernel.namespace import DIRECTORY, Namespace

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace.create(f"kt-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield made
    finally:
        made.remove()


def inode_of_this_thread() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def test_a_call_runs_inside_and_the_caller_stays_outside(namespace: Namespace) -> None:
    home = inode_of_this_thread()
    assert namespace.call(inode_of_this_thread) == namespace.inode != home
    assert inode_of_this_thread() == home
    assert not [thread for thread in threading.enumerate() if thread.name == "namespace"]


def test_a_call_raises_what_the_function_raises(namespace: Namespace) -> None:
    def fail() -> None:
        raise LookupError("inside")

    with pytest.raises(LookupError, match="inside"):
        namespace.call(fail)


def test_a_socket_keeps_its_namespace(namespace: Namespace) -> None:
    # The loopback of a new namespace is down.
    with (
        namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as inside,
        pytest.raises(OSError, match="unreachable"),
    ):
        inside.connect(("127.0.0.1", 9))
    with Namespace.of_pid(os.getpid()) as mine:
        assert mine.inode == inode_of_this_thread()


def test_names_are_taken_once_and_given_back() -> None:
    name = f"kt-{os.getpid()}-{secrets.token_hex(4)}"
    first = Namespace.create(name)
    try:
        with pytest.raises(FileExistsError):
            Namespace.create(name)
        with Namespace.open(DIRECTORY / name) as again:
            assert again.inode == first.inode
    finally:
        first.remove()
    assert not (DIRECTORY / name).exists()


def test_a_number_is_given_once() -> None:
    name = f"kt-{os.getpid()}-{secrets.token_hex(4)}"
    seen: list[int] = []
    for _ in range(5):
        made = Namespace.create(name)
        try:
            assert not any(made.is_known_as(number) for number in seen)
            assert made.is_known_as(made.number)
            assert made.is_known_as(made.inode)
            assert not made.is_known_as(made.inode + 1)
            seen.append(made.number)
        finally:
            made.remove()
    assert len(set(seen)) == 5


@pytest.mark.parametrize(
    ("path", "message"), [("/etc/hostname", "not a namespace"), ("/proc/self/ns/uts", "another kind")]
)
def test_other_files_are_refused(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Namespace.open(path)


def test_a_missing_process_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        Namespace.of_pid(2**22 + 1)
