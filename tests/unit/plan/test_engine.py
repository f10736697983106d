from kinety.model.address import pack_address
from kinety.model.endpoint import EndpointId
from kinety.model.identity import ReservedIdentity
from kinety.model.label import Label
from kinety.model.rule import Action, Direction
from kinety.model.verdict import VerdictKind
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, NodeLabelsChanged, PolicyUpserted
from tests.unit.plan.saying import TCP, endpoint, has, node, policy, rule, tcp

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


def test_flows_of_the_node_are_judged_anew_when_its_labels_change() -> None:
    """It keeps its number, by which flows know it; so every endpoint's epoch is raised."""
    engine = Engine()
    subject = has(org="empire", class_="deathstar")
    denied = rule(subject, [node(zone="east")], None, action=Action.DENY)
    west, east = (NodeLabelsChanged(frozenset({Label("node", "zone", zone)})) for zone in ("west", "east"))
    engine.change([EndpointUpserted(endpoint(DEATHSTAR, org="empire", class_="deathstar")), west])
    engine.change([PolicyUpserted(policy("rule1", denied))])
    before = engine.verdict(EndpointId(DEATHSTAR), Direction.INGRESS, ReservedIdentity.HOST, TCP, 9)
    assert before.kind is VerdictKind.ALLOW
    change = engine.change([east])
    after = engine.verdict(EndpointId(DEATHSTAR), Direction.INGRESS, ReservedIdentity.HOST, TCP, 9)
    assert after.kind is VerdictKind.DENY
    assert change.endpoints.keys() == {DEATHSTAR}
    assert not engine.change([east]).endpoints, "they are the same"
