"""The servers of probes, in real namespaces: they answer, remember, and leave no descriptor."""

import os
import secrets
import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.testing.echo import EchoServers
from kinety.testing.wait import wait_until

pytestmark = pytest.mark.needs("root", "netns", "ipv6")

LOOPBACKS = {4: "127.0.0.1", 6: "::1"}
KINDS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}
PORT = 4242


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace.create(f"kinety-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with Netlink(made) as netlink, netlink.batch() as batch:
            batch.link_set("lo", up=True)
        yield made
    finally:
        made.remove()


def client(namespace: Namespace, version: int, protocol: str) -> socket.socket:
    made = namespace.socket(socket.AF_INET if version == 4 else socket.AF_INET6, KINDS[protocol])
    made.settimeout(5)
    made.connect((LOOPBACKS[version], PORT))
    return made


@pytest.mark.parametrize("protocol", KINDS)
@pytest.mark.parametrize("version", LOOPBACKS)
def test_what_was_sent_comes_back_and_is_remembered(
    namespace: Namespace, version: int, protocol: str
) -> None:
    token, never = secrets.token_bytes(16), secrets.token_bytes(16)
    servers = EchoServers()
    servers.listen(namespace, ip_address(LOOPBACKS[version]), protocol, PORT)
    with servers:
        assert not servers.saw(token)
        with client(namespace, version, protocol) as sender:
            sender.send(token)
            assert sender.recv(64) == token
        assert servers.saw(token)
        assert not servers.saw(never)


def test_one_address_has_many_services_and_families_do_not_mix(namespace: Namespace) -> None:
    servers = EchoServers()
    for version, address in LOOPBACKS.items():
        for protocol in KINDS:
            servers.listen(namespace, ip_address(address), protocol, PORT + version % 3)
    with servers, pytest.raises(ConnectionRefusedError):
        client(namespace, 4, "TCP").close()


def test_a_client_that_resets_does_not_stop_the_servers(namespace: Namespace) -> None:
    servers = EchoServers()
    servers.listen(namespace, ip_address("127.0.0.1"), "TCP", PORT)
    with servers:
        rude = client(namespace, 4, "TCP")
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        rude.send(b"rude")
        wait_until(lambda: servers.saw(b"rude"), 5)
        rude.close()
        with client(namespace, 4, "TCP") as polite:
            polite.send(b"polite")
            assert polite.recv(64) == b"polite"


def test_a_taken_port_is_an_error_and_nothing_answers_afterwards(namespace: Namespace) -> None:
    servers = EchoServers()
    servers.listen(namespace, ip_address("127.0.0.1"), "TCP", PORT)
    with pytest.raises(OSError, match="in use"):
        servers.listen(namespace, ip_address("127.0.0.1"), "TCP", PORT)
    with servers:
        client(namespace, 4, "TCP").close()
    with pytest.raises(ConnectionRefusedError):
        client(namespace, 4, "TCP")
