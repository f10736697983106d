from kinety.model.address import pack_address
from kinety.model.endpoint import EndpointId
from kinety.model.identity import ReservedIdentity
from kinety.model.rule import Direction
from kinety.model.verdict import VerdictKind
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, PolicyUpserted
from tests.unit.plan.saying import TCP, endpoint, has, policy, rule, tcp

DEATHSTAR, TIEFIGHTER, XWING = 1, 2, 3
EMPIRE = policy("rule1", rule(has(org="empire", class_="deathstar"), [has(org="empire")], [tcp(80)]))


def star_wars() -> Engine:
    engine = Engine()
    engine.change(
        [
            EndpointUpserted(endpoint(DEATHSTAR, org="empire", class_="deathstar")),
            EndpointUpserted(endpoint(TIEFIGHTER, org="empire", class_="tiefighter")),
            EndpointUpserted(endpoint(XWING, org="alliance", class_="xwing")),
            PolicyUpserted(EMPIRE),
        ]
    )
    return engine


def test_the_talks_policy() -> None:
    engine = star_wars()
    peers = {
        name: engine.identity_of_address(pack_address(f"10.0.0.{name}"))
        for name in (DEATHSTAR, TIEFIGHTER, XWING)
    }
    assert all(identity >= 256 for identity in peers.values())

    def kind(peer: int, port: int) -> VerdictKind:
        return engine.verdict(EndpointId(DEATHSTAR), Direction.INGRESS, peers[peer], TCP, port).kind

    assert kind(TIEFIGHTER, 80) is VerdictKind.ALLOW
    assert kind(TIEFIGHTER, 81) is VerdictKind.DENY
    assert kind(XWING, 80) is VerdictKind.DENY
    assert (
        engine.verdict(EndpointId(XWING), Direction.INGRESS, peers[TIEFIGHTER], TCP, 1).kind
        is VerdictKind.ALLOW
    )
    host = engine.verdict(EndpointId(DEATHSTAR), Direction.INGRESS, ReservedIdentity.HOST, TCP, 9)
    assert engine.rules[host.rule].origin.path == "allow-localhost"
