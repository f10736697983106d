"""The matrix against the naive judge: every question has one row, with the right verdict."""

from hypothesis import given, settings

from kinety.explain.difference import peers_of_anybody
from kinety.explain.matrix import matrix
from kinety.explain.traffic import EVERYTHING, describe, number_of, union
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, Fact, PolicyUpserted
from tests.unit.explain.everyone import questions, told
from tests.unit.plan.generation import batches
from tests.unit.plan.saying import endpoint, has, policy, rule, tcp


@settings(max_examples=80, deadline=None)
@given(batches)
def test_every_question_has_one_row(former: list[list[Fact]]) -> None:
    engine, world = told([each for batch in former for each in batch])
    rows = matrix(engine)
    for (subject, direction, address), protocol, port in questions(world):
        own, peer = engine.endpoint_plan(subject.id).identity, engine.identity_of_address(address)
        number = number_of(protocol, port)
        (row,) = (
            each
            for each in rows
            if each.direction is direction
            and own in each.subjects
            and peer in each.peers
            and any(first <= number <= last for first, last in each.traffic)
        )
        kind, deciding, _ = world.judge(subject, direction, world.owner(address), protocol, port)
        assert row.verdict.kind is kind
        assert (f"{row.rule.policy.name} {row.rule.path}" if row.rule else "") == deciding
    for own in engine.subjects:
        for direction in (0, 1):
            mine = [each for each in rows if each.direction == direction and own in each.subjects]
            for peer in peers_of_anybody(engine):
                assert (
                    union(part for each in mine if peer in each.peers for part in each.traffic) == EVERYTHING
                )


def test_equal_subjects_are_one_row() -> None:
    engine = Engine(allow_localhost=False)
    engine.change(
        [
            *(EndpointUpserted(endpoint(number, app="web", copy=str(number))) for number in (1, 2)),
            PolicyUpserted(policy("p", rule(has(app="web"), [has(app="web")], [tcp(80)]))),
        ]
    )
    everyone = len(peers_of_anybody(engine))
    assert [
        (
            each.direction.name,
            len(each.subjects),
            len(each.peers),
            each.verdict.kind.name,
            describe(each.traffic),
        )
        for each in matrix(engine)
    ] == [
        ("EGRESS", 2, everyone, "ALLOW", "all"),
        ("INGRESS", 2, everyone - 2, "DENY", "all"),
        ("INGRESS", 2, 2, "DENY", "all but TCP/80"),
        ("INGRESS", 2, 2, "ALLOW", "TCP/80"),
    ]
