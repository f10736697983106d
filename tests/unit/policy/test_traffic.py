import pytest

from kinety.model.rule import NamedPort, PortRange
from tests.unit.policy.sample import refused_rule, rule

ALL_PORTS = [(6, 0, 65535), (17, 0, 65535), (132, 0, 65535)]


@pytest.mark.parametrize(
    ("port", "ranges"),
    [
        ("{port: '80', protocol: TCP}", [(6, 80, 80)]),
        ("{port: 80, protocol: TCP}", [(6, 80, 80)]),
        ("{port: '53', protocol: UDP}", [(17, 53, 53)]),
        ("{port: '53', protocol: SCTP}", [(132, 53, 53)]),
        ("{port: '53', protocol: ANY}", [(6, 53, 53), (17, 53, 53), (132, 53, 53)]),
        ("{port: '53'}", [(6, 53, 53), (17, 53, 53), (132, 53, 53)]),
        ("{port: '80', endPort: 90, protocol: TCP}", [(6, 80, 90)]),
        ("{port: '80', endPort: '80', protocol: TCP}", [(6, 80, 80)]),
        ("{port: '1', endPort: 65535, protocol: TCP}", [(6, 1, 65535)]),
        ("{port: '0', protocol: TCP}", [(6, 0, 65535)]),
        ("{port: '0'}", ALL_PORTS),
        ("{port: 0, protocol: ANY}", ALL_PORTS),
        ("{protocol: ICMP}", [(1, 0, 65535)]),
        ("{port: '0', protocol: ICMPv6}", [(58, 0, 65535)]),
        ("{port: 0, protocol: VRRP}", [(112, 0, 65535)]),
        ("{protocol: IGMP}", [(2, 0, 65535)]),
        ("{protocol: IPIP}", [(4, 0, 65535)]),
        ("{protocol: GRE}", [(47, 0, 65535)]),
        ("{protocol: ESP}", [(50, 0, 65535)]),
        ("{protocol: AH}", [(51, 0, 65535)]),
    ],
)
def test_ports(port: str, ranges: list[tuple[int, int, int]]) -> None:
    assert rule(f"toPorts: [{{ports: [{port}]}}]").ports == tuple(PortRange(*each) for each in ranges)


@pytest.mark.parametrize(
    ("port", "named"),
    [
        ("{port: http, protocol: TCP}", [(6, "http")]),
        ("{port: http}", [(6, "http"), (17, "http"), (132, "http")]),
        ("{port: DNS, protocol: UDP}", [(17, "dns")]),
        ("{port: '0x10', protocol: TCP}", [(6, "0x10")]),
        ("{port: '8080-tcp', protocol: TCP}", [(6, "8080-tcp")]),
    ],
)
def test_ports_by_name(port: str, named: list[tuple[int, str]]) -> None:
    found = rule(f"toPorts: [{{ports: [{port}]}}]")
    assert found.named_ports == tuple(NamedPort(*each) for each in named)
    assert found.ports == (), "a name is not every port"


def test_names_stand_beside_numbers() -> None:
    found = rule("toPorts: [{ports: [{port: web, protocol: TCP}, {port: '80', protocol: TCP}]}]")
    assert found.ports == (PortRange(6, 80, 80),)
    assert found.named_ports == (NamedPort(6, "web"),)


def test_everything_named_in_one_rule_counts_once() -> None:
    found = rule(
        "toPorts: [{ports: [{port: '80', protocol: TCP}, {port: '53', protocol: UDP}]}, "
        "{ports: [{port: '80', protocol: TCP}, {port: '22', protocol: TCP}]}]"
    )
    assert found.ports == (PortRange(6, 22, 22), PortRange(6, 80, 80), PortRange(17, 53, 53))


@pytest.mark.parametrize(
    ("port", "path", "message", "hint"),
    [
        ("{port: '65536'}", "port", "there is no port 65536", "0 to 65535"),
        ("{port: 70000}", "port", "there is no port 70000", ""),
        ("{port: '-1'}", "port", "there is no port -1", ""),
        ("{port: '99999999999999999999999'}", "port", "there is no port 9999", ""),
        ("{port: ''}", "port", "found the text ''", "decimal"),
        ("{port: '080'}", "port", "found the text '080'", "decimal"),
        ("{port: 080}", "port", "found the unquoted 080", "decimal"),
        ("{port: 0x50}", "port", "found the unquoted 0x50", "decimal"),
        ("{port: 80.5}", "port", "found the unquoted 80.5", ""),
        ("{port: '80 '}", "port", "found the text '80 '", ""),
        ("{port: true}", "port", "found the boolean true", ""),
        ("{port: [80]}", "port", "found a list", ""),
        ("{port: }", "port", "found nothing", ""),
        ("{port: 'not_a_port'}", "port", "found the text", ""),
        ("{port: 'two--dashes'}", "port", "found the text", ""),
        ("{port: 'more-than-15-chars'}", "port", "found the text", ""),
        ("{port: http, endPort: 90}", "endPort", "a range cannot begin at a name, 'http'", "write numbers"),
        ("{port: '80', endPort: 79}", "endPort", "endPort 79 is below port 80", "lower"),
        ("{port: '80', endPort: 65536}", "endPort", "there is no port 65536", ""),
        ("{port: '80', endPort: x}", "endPort", "expected a port number, found the text 'x'", ""),
        ("{port: '0', endPort: 80}", "endPort", "port 0 is every port already", "begin the range at 1"),
        ("{port: '80', protocol: tcp}", "protocol", "unknown protocol 'tcp'", "did you mean TCP?"),
        ("{port: '80', protocol: QUIC}", "protocol", "unknown protocol 'QUIC'", "UDP"),
        ("{port: '8', protocol: ICMP}", "port", "ICMP has no ports", "family: IPv4"),
        ("{port: '8', protocol: ICMPv6}", "port", "ICMPv6 has no ports", "family: IPv6"),
        ("{port: '1', protocol: VRRP}", "port", "VRRP has no ports", "for everything of VRRP"),
        ("{port: http, protocol: IGMP}", "port", "IGMP has no ports", ""),
        ("{port: false, protocol: IGMP}", "port", "IGMP has no ports", ""),
        ("{port: 0, endPort: 9, protocol: GRE}", "endPort", "GRE has no ports", "remove it"),
    ],
)
def test_impossible_ports(port: str, path: str, message: str, hint: str) -> None:
    found = refused_rule(f"toPorts:\n- ports:\n  - {port}")
    assert found.path == f"spec.ingress[0].toPorts[0].ports[0].{path}"
    assert message in found.message
    assert hint in found.hint


@pytest.mark.parametrize(
    ("item", "path", "message"),
    [
        ("toPorts: []", "toPorts", "toPorts is empty"),
        ("toPorts: [{}]", "toPorts[0]", "no ports are named"),
        ("toPorts: [{ports: []}]", "toPorts[0]", "no ports are named"),
        ("icmps: []", "icmps", "icmps is empty"),
        ("icmps: [{}]", "icmps[0]", "no message types are named"),
        ("icmps: [{fields: []}]", "icmps[0]", "no message types are named"),
    ],
)
def test_an_empty_list_is_neither_all_nor_nothing_but_refused(item: str, path: str, message: str) -> None:
    found = refused_rule(item)
    assert found.path == f"spec.ingress[0].{path}"
    assert message in found.message


@pytest.mark.parametrize(("count", "accepted"), [(40, True), (41, False)])
def test_the_limit_on_ports(count: int, accepted: bool) -> None:
    item = f"toPorts: [{{ports: [{', '.join(f'{{port: {n + 1}, protocol: TCP}}' for n in range(count))}]}}]"
    if accepted:
        assert len(rule(item).ports or ()) == count
    else:
        assert refused_rule(item).message == "41 ports; the limit is 40"


@pytest.mark.parametrize(("count", "accepted"), [(40, True), (41, False)])
def test_the_limit_on_message_types(count: int, accepted: bool) -> None:
    item = f"icmps: [{{fields: [{', '.join(f'{{type: {n}}}' for n in range(count))}]}}]"
    if accepted:
        assert len(rule(item).ports or ()) == count
    else:
        assert refused_rule(item).message == "41 message types; the limit is 40"


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("{type: 8}", (1, 8, 8)),
        ("{type: '8'}", (1, 8, 8)),
        ("{family: IPv4, type: 255}", (1, 255, 255)),
        ("{type: EchoRequest}", (1, 8, 8)),
        ("{type: Echo}", (1, 8, 8)),
        ("{family: IPv6, type: 128}", (58, 128, 128)),
        ("{family: IPv6, type: EchoRequest}", (58, 128, 128)),
        ("{family: IPv6, type: NeighborSolicitation}", (58, 135, 135)),
    ],
)
def test_message_types(field: str, expected: tuple[int, int, int]) -> None:
    assert rule(f"icmps: [{{fields: [{field}]}}]").ports == (PortRange(*expected),)


def test_a_rule_about_messages_only_is_about_any_peer() -> None:
    assert rule("icmps: [{fields: [{type: 8}]}]").peers is None


@pytest.mark.parametrize(
    ("field", "path", "message", "hint"),
    [
        ("{type: 256}", ".type", "there is no message type 256", "0 to 255"),
        ("{type: -1}", ".type", "there is no message type -1", ""),
        ("{type: echorequest}", ".type", "unknown IPv4 message type", "EchoRequest?"),
        ("{family: IPv6, type: Photuris}", ".type", "unknown IPv6 message type", ""),
        ("{type: true}", ".type", "found the boolean true", ""),
        ("{family: ipv6, type: 1}", ".family", "unknown family 'ipv6'", "IPv6?"),
        ("{family: IPv5, type: 1}", ".family", "unknown family 'IPv5'", "IPv"),
        ("{family: IPv4}", "", "type is missing", "number or name"),
    ],
)
def test_impossible_message_types(field: str, path: str, message: str, hint: str) -> None:
    found = refused_rule(f"icmps: [{{fields: [{field}]}}]")
    assert found.path == f"spec.ingress[0].icmps[0].fields[0]{path}"
    assert message in found.message
    assert hint in found.hint
