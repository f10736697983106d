"""Rules by DNS name that select nobody."""

from kinety.explain.lint import lint
from kinety.model.address import Prefix, pack_address
from kinety.model.rule import Direction
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, Fact, HostAddressesChanged, NamesLearnt, PolicyUpserted
from tests.unit.plan.saying import dns, endpoint, fqdn, has, policy, rule, tcp, udp

CLIENT = EndpointUpserted(endpoint(1, app="client"))
OTHER = EndpointUpserted(endpoint(2, app="other"))
EGRESS = Direction.EGRESS
BY_NAME = rule(has(app="client"), [fqdn("*.com")], [tcp(443)], direction=EGRESS)
ASKING = rule(has(app="client"), [has(app="dns")], [udp(53)], direction=EGRESS, layer7=dns("*"))


def found(*facts: Fact, rules: tuple[object, ...] = (BY_NAME, ASKING)) -> list[tuple[str, int, str]]:
    engine = Engine()
    engine.change([PolicyUpserted(policy("p", *rules)), CLIENT, OTHER, *facts])  # type: ignore[arg-type]
    suspicions = [each for each in lint(engine) if each.check in ("inside", "unheard")]
    assert all(each.hint for each in suspicions)
    return [(each.check, each.origin.line, each.message) for each in suspicions]


def learnt(address: str, *names: str) -> NamesLearnt:
    return NamesLearnt(Prefix.parse(address), frozenset(names))


def test_a_name_that_leads_inside_is_told_of() -> None:
    host = HostAddressesChanged(frozenset({pack_address("192.168.0.1")}))
    assert found(host, learnt("8.8.8.8", "a.com"), learnt("10.0.0.2", "b.org")) == []
    assert found(host, learnt("10.0.0.2", "b.com", "c.org"), learnt("192.168.0.1", "d.com")) == [
        ("inside", 1, "b.com is 10.0.0.2, which is inside, where a name selects nobody"),
        ("inside", 1, "d.com is 192.168.0.1, which is inside, where a name selects nobody"),
    ]


def test_names_that_nobody_hears_of_are_told_of() -> None:
    assert found() == []
    (only,) = found(rules=(BY_NAME,))
    assert only[:2] == ("unheard", 1)
    assert "what default/e1 asks name servers" in only[2]
    of_nobody = rule(has(app="nobody"), [fqdn("*.com")], direction=EGRESS)
    assert found(rules=(of_nobody,)) == []
