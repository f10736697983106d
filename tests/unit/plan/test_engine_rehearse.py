"""A change that is looked at half-way: both plans are there, and afterwards only the former one."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings

from kinety.model.rule import Direction
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, Fact, PolicyUpserted
from kinety.plan.lookup import judge
from kinety.plan.subject import Flip
from tests.unit.plan.generation import batches
from tests.unit.plan.saying import endpoint, has, policy, rule, tcp


def test_old_and_new_tables_are_both_filled() -> None:
    engine = Engine()
    engine.change(
        [
            *(EndpointUpserted(endpoint(number, app=app)) for number, app in ((1, "a"), (2, "b"), (3, "c"))),
            PolicyUpserted(policy("p", rule(has(app="a"), [has(app="b")], [tcp(80)]))),
        ]
    )
    held = engine.snapshot()
    others = [engine.endpoint_plan(key).identity for key in sorted(engine.endpoints)[1:]]

    def look(flips: Sequence[Flip]) -> list[list[str]]:
        (flip,) = flips
        return [
            [
                judge(tables[Direction.INGRESS], engine.registry.classes.of(peer), 6, 80).kind.name
                for peer in others
            ]
            for tables in (flip.before, flip.after)
        ]

    changed = policy("p", rule(has(app="a"), [has(app="c")], [tcp(80)]))
    assert engine.rehearse([PolicyUpserted(changed)], look) == [["ALLOW", "DENY"], ["DENY", "ALLOW"]]
    assert engine.snapshot() == held


def test_what_looking_raises_is_raised_and_nothing_stays() -> None:
    engine = Engine()

    def look(flips: Sequence[Flip]) -> None:
        raise LookupError(len(flips))

    with pytest.raises(LookupError):
        engine.rehearse([EndpointUpserted(endpoint(1, app="a"))], look)
    assert not engine.endpoints
    assert engine.change([EndpointUpserted(endpoint(1, app="a"))]).endpoints.keys() == engine.endpoints.keys()


@settings(max_examples=80, deadline=None)
@given(batches)
def test_a_rehearsal_leaves_no_trace(steps: list[list[Fact]]) -> None:
    """An engine that rehearses everything first makes the same changes as one that does not."""
    careful, plain = Engine(), Engine()
    for facts in steps:
        held = careful.snapshot()
        careful.rehearse(facts, len)
        assert careful.snapshot() == held
        assert careful.change(facts) == plain.change(facts)
