import itertools

import pytest

from kinety.model.address import pack_address
from kinety.model.host_port import HostPort


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8080:80", "8080:80/TCP"),
        ("8080:80/udp", "8080:80/UDP"),
        ("8080:80/SCTP", "8080:80/SCTP"),
        ("192.0.2.1:1:65535/tcp", "192.0.2.1:1:65535/TCP"),
        ("0.0.0.0:53:53/udp", "0.0.0.0:53:53/UDP"),
        ("[2001:db8:0::1]:53:53", "[2001:db8::1]:53:53/TCP"),
        ("[::]:53:53", "[::]:53:53/TCP"),
    ],
)
def test_it_is_text_both_ways(text: str, said: str) -> None:
    assert str(HostPort.parse(text)) == said
    assert HostPort.parse(said) == HostPort.parse(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("8080", "write .*8080:80/tcp"),
        ("", "write .*8080:80/tcp"),
        ("1:2:3:4", "write .*8080:80/tcp"),
        ("2001:db8::1:80:80", "write .*8080:80/tcp"),
        ("0:80", "'0' is no port; write 1 to 65535"),
        ("80:0", "'0' is no port"),
        ("-1:80", "'-1' is no port"),
        ("80:65536", "'65536' is no port"),
        ("80:http", "'http' is no port"),
        ("80:²", "'²' is no port"),
        ("80:80/icmp", "'icmp' is no protocol with ports; write one of TCP, UDP, SCTP"),
        ("80:80/", "'' is no protocol"),
        ("node:80:80", "'node' is no IP address"),
        (":80:80", "'' is no IP address"),
        ("[]:80:80", "'' is no IP address"),
        ("[192.0.2.1]:80:80", "only an IPv6 address is in brackets"),
        ("224.0.0.1:80:80", "cannot be an address of the node's"),
        ("[::ffff:192.0.2.1]:80:80", "cannot be an address of the node's"),
        ("[fe80::1%eth0]:80:80", "cannot be an address of the node's"),
        ("[::1]:80:80", "never leaves the node; 127.0.0.1 can be led on"),
    ],
)
def test_what_is_none_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        HostPort.parse(text)


def test_of_which_addresses_it_is() -> None:
    everywhere, ipv4 = HostPort.parse("80:80"), HostPort.parse("0.0.0.0:80:80")
    one = HostPort.parse("[2001:db8::1]:80:80")
    assert [[port.serves(version) for version in (4, 6)] for port in (everywhere, ipv4, one)] == [
        [True, True],
        [True, False],
        [False, True],
    ]
    assert [port.anywhere for port in (everywhere, ipv4, one)] == [True, True, False]
    assert (everywhere.address, one.address) == (None, pack_address("2001:db8::1"))


def test_two_clash_when_a_packet_could_be_meant_for_both() -> None:
    where = ("", "0.0.0.0:", "192.0.2.1:", "192.0.2.2:", "[::]:", "[2001:db8::1]:")
    ports = {each: HostPort.parse(f"{each}80:8080") for each in where}
    clashing = {
        (one, other) for one, other in itertools.product(where, where) if ports[one].clashes(ports[other])
    }
    apart = {
        ("0.0.0.0:", "[::]:"),
        ("0.0.0.0:", "[2001:db8::1]:"),
        ("192.0.2.1:", "192.0.2.2:"),
        ("192.0.2.1:", "[::]:"),
        ("192.0.2.1:", "[2001:db8::1]:"),
        ("192.0.2.2:", "[::]:"),
        ("192.0.2.2:", "[2001:db8::1]:"),
    }
    both_ways = apart | {(other, one) for one, other in apart}
    assert clashing == set(itertools.product(where, where)) - both_ways
    assert not HostPort.parse("80:80/tcp").clashes(HostPort.parse("80:80/udp"))
    assert not HostPort.parse("80:80").clashes(HostPort.parse("81:80"))
