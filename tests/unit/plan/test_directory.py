import pytest

from kinety.identity.journal import Journal
from kinety.model.address import Prefix
from kinety.model.endpoint import Listen
from kinety.model.label import Label
from kinety.model.reference import CidrGroup, CidrGroupReference, Service, ServiceReference
from kinety.model.rule import Direction, NamedPort, PortRange, Rule
from kinety.model.selector import BlockSelector, LabelSelector, Operator, PeerSelector, Requirement
from kinety.plan.directory import Directory, listens_of
from tests.unit.plan.saying import TCP, block, cidr, entity, fqdn, has, labels, policy, rule, tcp, udp

WEB, WEB_ELSEWHERE, DNS = map(Listen.parse, ("web=80/TCP", "web=8080/TCP", "web=53/UDP"))
NAMED = [NamedPort(TCP, "web")]
OUT = Direction.EGRESS


def directory(*listens: Listen) -> Directory:
    made = Directory(Journal())
    made.put_ports((), listens)
    return made


def having(selector: LabelSelector, value: str) -> LabelSelector:
    requirement = Requirement("port", "web", Operator.IN, (value,))
    return LabelSelector(tuple(sorted((*selector.requirements, requirement))))


def test_a_rule_that_names_nothing_is_itself() -> None:
    written = rule(has(app="a"), [has(app="b")], [tcp(80)])
    (part,) = directory(WEB).look_up(written)
    assert part is written


def test_on_ingress_a_name_is_the_subjects() -> None:
    written = rule(has(app="a"), [has(app="b")], [udp(7)], named=NAMED)
    plain, one, other = directory(WEB, WEB_ELSEWHERE, DNS).look_up(written)
    assert (plain.subject, plain.ports, plain.named_ports) == (written.subject, (udp(7),), ())
    assert [(each.subject, each.ports) for each in (one, other)] == [
        (having(written.subject, "80/TCP"), (tcp(80),)),
        (having(written.subject, "8080/TCP"), (tcp(8080),)),
    ]
    assert {each.peers for each in (plain, one, other)} == {(has(app="b"),)}
    assert all(each.default_deny for each in (plain, one, other))


@pytest.mark.parametrize(
    ("peers", "expected"),
    [
        (None, (having(LabelSelector(), "80/TCP"),)),
        ([has(app="b")], (having(has(app="b"), "80/TCP"),)),
        ([entity("cluster"), cidr("10.0.0.0/8")], (having(LabelSelector(), "80/TCP"),)),
    ],
)
def test_on_egress_a_name_is_the_peers(
    peers: list[PeerSelector] | None, expected: tuple[PeerSelector, ...]
) -> None:
    _, part = directory(WEB).look_up(rule(has(app="a"), peers, [], direction=OUT, named=NAMED))
    assert (part.subject, part.peers, part.ports) == (has(app="a"), expected, (PortRange(TCP, 80, 80),))


def test_in_a_block_a_name_is_that_of_endpoints_inside() -> None:
    written = rule(has(), [block("10.0.0.0/8")], [], direction=OUT, named=NAMED)
    _, part = directory(WEB).look_up(written)
    among = having(LabelSelector(), "80/TCP")
    assert part.peers == (BlockSelector(Prefix.parse("10.0.0.0/8"), (), among),)


@pytest.mark.parametrize("peer", [cidr("10.0.0.0/8"), fqdn("a.com"), entity("world"), entity("host")])
def test_nobody_outside_names_a_port(peer: PeerSelector) -> None:
    written = rule(has(), [peer], [], direction=OUT, named=NAMED)
    (plain,) = directory(WEB).look_up(written)
    assert (plain.ports, plain.default_deny) == ((), True)


@pytest.mark.parametrize("ports", [None, (PortRange(0),)])
def test_a_rule_about_every_port_has_no_use_for_names(ports: tuple[PortRange, ...] | None) -> None:
    (plain,) = directory(WEB).look_up(rule(has(), None, ports, named=NAMED))
    assert (plain.ports, plain.named_ports) == (ports, ())


def test_a_name_that_nobody_gives_is_no_port_and_isolates() -> None:
    (plain,) = directory(DNS).look_up(rule(has(), None, [], named=NAMED))
    assert (plain.ports, plain.named_ports, plain.default_deny) == ((), (), True)


def peers_of(made: Directory, written: Rule) -> tuple[PeerSelector, ...]:
    (part,) = made.look_up(written)
    assert (part.references, part.default_deny) == ((), True)
    assert part.peers is not None
    return part.peers


def test_groups_by_name_and_by_label_with_what_is_left_out() -> None:
    made = directory()
    made.put_group("vpn", group("vpn", "10.0.0.0/8", "192.0.2.0/24", team="a"))
    made.put_group("lab", group("lab", "10.1.0.0/16", team="b"))
    holes = (Prefix.parse("10.1.0.0/16"),)
    by_name = rule(has(), [has(app="b")], references=[CidrGroupReference("vpn", None, holes)])
    assert peers_of(made, by_name) == (
        has(app="b"), cidr("10.0.0.0/8", "10.1.0.0/16"), cidr("192.0.2.0/24"),
    )  # fmt: skip
    by_label = rule(has(), [], references=[CidrGroupReference(None, has(team="b"))])
    assert peers_of(made, by_label) == (cidr("10.1.0.0/16"),)
    left_out = rule(has(), [], references=[CidrGroupReference("lab", None, holes)])
    assert peers_of(made, left_out) == ()
    unknown = rule(has(), [], references=[CidrGroupReference("gone", None)])
    assert peers_of(made, unknown) == ()


def group(name: str, *prefixes: str, **own: str) -> CidrGroup:
    found = frozenset(Label("cidrgroup", key, value) for key, value in own.items())
    return CidrGroup(name, found, tuple(map(Prefix.parse, prefixes)))


def test_services_lead_to_pods_or_to_addresses() -> None:
    made = directory()
    web = Service("prod", "web", labels(team="a"), has(app="web"), ())
    away = Service("test", "away", labels(team="a"), None, (Prefix.parse("192.0.2.7"),))
    made.put_service(("prod", "web"), web)
    made.put_service(("test", "away"), away)

    def peers(namespace: str, name: str | None, selector: LabelSelector | None = None) -> object:
        written = rule(has(), [], direction=OUT, references=[ServiceReference(namespace, name, selector)])
        return peers_of(made, written)

    assert peers("prod", "web") == (has(app="web"),)
    assert peers("test", "web") == ()
    assert peers("", "web") == (has(app="web"),)
    assert peers("", None, has(team="a")) == (has(app="web"), cidr("192.0.2.7"))
    assert peers("test", None, has(team="a")) == (cidr("192.0.2.7"),)
    assert peers("", None, has(team="b")) == ()


def test_only_policies_that_name_what_changed_are_looked_up_again() -> None:
    made = directory()
    by_port = policy("port", rule(has(), None, [], named=NAMED))
    by_group = policy("group", rule(has(), [], references=[CidrGroupReference("vpn", None)]))
    by_label = policy("label", rule(has(), [], references=[CidrGroupReference(None, has(team="a"))]))
    by_service = policy("service", rule(has(), [], references=[ServiceReference("", "web", None)]))
    plain = policy("plain", rule(has()))
    for each in (by_port, by_group, by_label, by_service, plain):
        made.file(each)

    def stale() -> set[str]:
        found = {key.name for key in made.stale}
        made.begin()
        return found

    made.put_ports((), [WEB])
    assert stale() == {"port"}
    made.put_ports((), [WEB])
    assert stale() == set(), "a second one of the same"
    made.put_ports([WEB], ())
    assert stale() == set()
    made.put_ports([WEB], ())
    assert stale() == {"port"}
    made.put_group("vpn", group("vpn", "10.0.0.0/8"))
    assert stale() == {"group", "label"}
    made.put_group("vpn", group("vpn", "10.0.0.0/8"))
    assert stale() == set(), "it is so already"
    made.put_group("other", group("other"))
    assert stale() == {"label"}
    made.put_service(("prod", "web"), Service("prod", "web", labels(), None, ()))
    assert stale() == {"service"}
    made.unfile(by_service)
    made.put_service(("prod", "web"), None)
    assert stale() == set()


def test_all_of_it_can_be_taken_back() -> None:
    journal = Journal()
    made, twin = Directory(journal), Directory(Journal())
    journal.commit()
    written = rule(has(), [], [], direction=OUT, named=NAMED, references=[CidrGroupReference("vpn", None)])
    made.put_ports((), [WEB, WEB_ELSEWHERE])
    made.put_group("vpn", group("vpn", "10.0.0.0/8"))
    made.file(policy("p", written))
    assert len(made.look_up(written)) == 1
    assert made.look_up(written) != twin.look_up(written)
    journal.rollback()
    assert made.look_up(written) == twin.look_up(written)
    made.begin()
    made.put_ports((), [WEB])
    assert not made.stale


def test_labels_of_peers_elsewhere_tell_their_ports() -> None:
    assert set(listens_of({WEB.label, DNS.label, Label("k8s", "web", "80/TCP")})) == {WEB, DNS}
