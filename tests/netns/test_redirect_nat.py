"""What only the redirect ``nat`` has: rows that say whom a client had asked, and rewritten packets."""

import array
import fcntl
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kinety.abi import Reason, Redirect
from kinety.kernel.map import Map
from kinety.kernel.namespace import Namespace
from tests.netns.datapath_node import (
    ANSWER_SECONDS,
    SILENCE_SECONDS,
    Node,
    address,
    listening,
    plan,
    socket_to,
)
from tests.netns.redirect_lab import (
    ALLIANCE,
    CLIENT,
    EGRESS,
    EMPIRE,
    NEEDS,
    PORT,
    PORTS,
    SERVER,
    Proxies,
    Talk,
    both_proxies,
    counted,
    families,
    redirect_lab,
    talking,
)

pytestmark = pytest.mark.needs(*NEEDS)

SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17


@pytest.fixture
def lab() -> Iterator[Node]:
    with redirect_lab(redirect=Redirect.NAT) as built:
        built.put({CLIENT: plan(ALLIANCE, egress="egress")})
        yield built


@pytest.fixture
def proxies(lab: Node) -> Iterator[Proxies]:
    with both_proxies(lab) as made:
        yield made


def rows(lab: Node) -> list[Mapping[str, Any]]:
    """As `kinety map dump proxy` has them."""
    assert lab.datapath is not None
    return list(lab.datapath.dump("proxy"))


def row_map(lab: Node) -> Map:
    [pin] = [path for path in lab.settings.pins.rglob("proxy") if path.is_file()]
    return Map.open(pin)


@families
def test_a_row_has_client_destination_and_listener(lab: Node, proxies: Proxies, family: int) -> None:
    where = address(SERVER, family)
    with talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
        assert talk.works()
        assert rows(lab) == [
            {
                "client": address(CLIENT, family),
                "client_port": talk.client.getsockname()[1],
                "listener_port": PORTS[EGRESS],
                "protocol": socket.IPPROTO_TCP,
                "destination": where,
                "destination_port": PORT,
            }
        ]
        [accepted] = proxies[EGRESS].accepted
        assert (accepted.destination, accepted.identity) == ((where, PORT), ALLIANCE)


@families
def test_whose_row_is_lost_is_reset_and_no_byte_passes(lab: Node, proxies: Proxies, family: int) -> None:
    where = address(SERVER, family)
    with talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
        assert talk.works()
        with row_map(lab) as translations:
            for key, _ in list(translations.items()):
                translations.delete(key)
        before = counted(lab, Reason.TRANSLATION_LOST)
        talk.server.sendall(b"answer")
        talk.client.settimeout(SILENCE_SECONDS)
        with pytest.raises(TimeoutError):
            talk.client.recv(100)
        assert counted(lab, Reason.TRANSLATION_LOST) > before
        talk.client.settimeout(ANSWER_SECONDS)
        with pytest.raises(ConnectionResetError):
            talk.client.sendall(b"question") or talk.client.recv(100)
        talk.server.settimeout(SILENCE_SECONDS)
        with pytest.raises(TimeoutError):
            talk.server.recv(100)
    with talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
        assert talk.works()
        assert talk.refuses()


@families
def test_a_port_of_a_client_leads_to_two_servers_at_once(lab: Node, proxies: Proxies, family: int) -> None:
    """To the listener both would be the same connection; the second is given its socket instead."""
    lab.attach("other", 20)
    lab.put({20: plan(EMPIRE)})
    talks = []
    for name, number in (("server", SERVER), ("other", 20)):
        where = address(number, family)
        client = socket_to(lab.endpoints["client"], where, socket.SOCK_STREAM)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((address(CLIENT, family), 45678))
        client.settimeout(ANSWER_SECONDS)
        with listening(lab.endpoints[name], where, PORT) as listener:
            listener.settimeout(ANSWER_SECONDS)
            client.connect((where, PORT))
            server, _ = listener.accept()
        server.settimeout(ANSWER_SECONDS)
        talks.append(Talk(client, server, ("", 0)))
    assert all(talk.works() and talk.refuses() for talk in [*talks, *talks])
    assert [row["destination"] for row in rows(lab)] == [address(SERVER, family)]
    assert {accepted.destination[0] for accepted in proxies[EGRESS].accepted} == {
        address(SERVER, family),
        address(20, family),
    }
    for talk in talks:
        talk.client.close()
        talk.server.close()


def without_offload(namespace: Namespace, interface: str) -> None:
    """Have the kernel write whole checksums there, instead of leaving them to nobody."""
    with namespace.socket(socket.AF_INET, socket.SOCK_DGRAM, 0) as handle:
        value = array.array("B", struct.pack("=II", ETHTOOL_STXCSUM, 0))
        request = struct.pack("16sP", interface.encode(), value.buffer_info()[0])
        fcntl.ioctl(handle, SIOCETHTOOL, request)


@families
def test_checksums_stay_right(lab: Node, proxies: Proxies, family: int) -> None:
    """Both ends of the client's interface write them whole, so both ends check them."""
    assert lab.datapath is not None
    without_offload(lab.endpoints["client"], "eth0")
    without_offload(lab.namespace, "kinety2")
    where = address(SERVER, family)
    with talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
        assert talk.works()
        talk.client.sendall(bytes(range(256)) * 100)
        received = b""
        while len(received) < 25600:
            received += talk.server.recv(65536)
        assert received == bytes(range(256)) * 100
        assert talk.works()
    errors = lab.endpoints["client"].call(Path("/proc/thread-self/net/snmp").read_text)
    [header, values] = [line.split() for line in errors.splitlines() if line.startswith("Tcp:")]
    assert dict(zip(header, values, strict=True))["InErrs"] == "0"


@families
def test_to_whom_it_cannot_be_undone_flows_are_given_their_socket(
    lab: Node, proxies: Proxies, family: int
) -> None:
    """Answers to a process of the node's pass no endpoint's interface."""
    lab.put({SERVER: plan(EMPIRE, ingress="ingress"), CLIENT: plan(ALLIANCE)})
    with talking(lab.namespace, lab.endpoints["server"], address(SERVER, family)) as talk:
        assert talk.works()
        assert talk.refuses()
        assert rows(lab) == []
