"""Ports that a listener can have."""

import socket

import pytest

from kinety.agent.proxies.port import is_vacant


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::"),
    ],
)
def test_a_port_that_somebody_has_is_not_vacant(
    family: socket.AddressFamily, address: str, kind: socket.SocketKind
) -> None:
    with socket.socket(family, kind) as taken:
        taken.bind((address, 0))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        assert not is_vacant(port)
    assert is_vacant(port)
