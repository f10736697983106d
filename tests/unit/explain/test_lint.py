"""Findings against the engine: what is said to be superfluous is taken out, and no verdict changes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings

from kinety.explain.difference import difference
from kinety.explain.lint import Suspicion, lint
from kinety.model.label import Label
from kinety.model.rule import Action, Direction, Policy, Rule, Tier
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, Fact, PolicyRemoved, PolicyUpserted
from tests.unit.explain.everyone import told
from tests.unit.plan.generation import batches
from tests.unit.plan.saying import ANYONE, cidr, endpoint, has, policy, rule, tcp


@settings(max_examples=200, deadline=None)
@given(batches)
def test_what_is_superfluous_can_be_taken_out(former: list[list[Fact]]) -> None:
    engine, world = told([each for batch in former for each in batch])
    for each in lint(engine):
        if each.check in ("shadowed", "redundant"):
            own = world.policies[each.origin.policy]
            kept = tuple(other for other in own.rules if other.origin != each.origin)
            assert len(kept) == len(own.rules) - 1
            fact = PolicyUpserted(replace(own, rules=kept)) if kept else PolicyRemoved(own.key)
            # What a rule that never decides still does is to isolate.
            isolating = each.check == "shadowed" and any(
                one.default_deny for one in own.rules if one.origin == each.origin
            )
            if not isolating:
                assert difference(engine, [fact]).changes == ()
            else:
                numbers = {number for number, rule in engine.rules.items() if rule.origin == each.origin}
                assert not numbers & set(decided_by(engine))


def decided_by(engine: Engine) -> Counter[int]:
    """How many rows each rule decides."""
    return Counter(
        verdict.rule for rows in engine.snapshot().rule_sets.values() for verdict in rows.rows.values()
    )


def found(policies: Sequence[Policy], *endpoints: EndpointUpserted) -> list[tuple[str, int, str, str]]:
    engine = Engine()
    engine.change([*endpoints, *map(PolicyUpserted, policies)])
    return [said(each) for each in lint(engine)]


def said(each: Suspicion) -> tuple[str, int, str, str]:
    return each.check, each.origin.line, each.message, each.hint


A, B = (EndpointUpserted(endpoint(number, app=app)) for number, app in ((1, "web"), (2, "store")))
WEB, STORE = has(app="web"), has(app="store")


def deny(*given: object) -> Rule:
    return rule(*given, action=Action.DENY)  # type: ignore[arg-type]


def test_an_allow_rule_below_a_wider_deny_rule_never_decides() -> None:
    rules = policy("p", deny(ANYONE, [WEB], [tcp(1, 99)]), rule(WEB, [has(app="web", x="y")], [tcp(80)]))
    (shadowed,) = found([rules])
    assert shadowed == (
        "shadowed",
        2,
        "never decides: p.yaml:1 (spec.rule[0], deny) names all that it names, and goes before",
        "remove it, or narrow the other one",
    )
    wider = policy("p", deny(ANYONE, [WEB], [tcp(1, 79)]), rule(WEB, [WEB], [tcp(80)]))
    assert found([wider]) == []


def test_the_later_of_two_equal_rules_could_go() -> None:
    twice = policy("p", rule(WEB, [STORE]), rule(WEB, [STORE]), rule(STORE, [WEB]))
    assert [each[:2] for each in found([twice])] == [("redundant", 2)]


def test_what_isolates_is_not_superfluous() -> None:
    shut = policy("shut", rule(WEB, []))
    opened = policy("p", rule(WEB, [WEB], default_deny=False), rule(WEB, [WEB], [tcp(80)]))
    assert found([shut, opened]) == []


def test_rules_of_tiers_never_decide_below_earlier_ones() -> None:
    first, second = (
        replace(rule(WEB, [STORE], action=action), tier=Tier.ADMIN, priority=priority, default_deny=False)
        for action, priority in ((Action.PASS, 1), (Action.DENY, 2))
    )
    below = rule(WEB, [STORE])
    assert [each[:2] for each in found([policy("p", first, second, below)])] == [("shadowed", 2)]
    decides = replace(first, action=Action.ALLOW)
    assert [each[:2] for each in found([policy("p", decides, below)])] == [("shadowed", 2)]


def test_nobody_has_such_a_label() -> None:
    wrong = policy("p", rule(has(app="wbe"), [has(ap="store")]), rule(WEB, [has(app="web", tier="x")]))
    lines = found([wrong], A, B)
    assert (
        "nobody",
        1,
        "the policy is about nobody there is: app=wbe; nobody has app=wbe",
        "did you mean app=web?",
    ) in lines
    assert (
        "nobody",
        1,
        "the rule is about nobody there is: ap=store; nobody has a label ap",
        "did you mean the label app?",
    ) in lines
    assert (
        "nobody",
        2,
        "the rule is about nobody there is: app=web, tier=x; nobody has a label tier",
        "",
    ) in lines
    assert found([wrong]) == [], "where nobody is known, nobody is missed"


def test_two_labels_that_nobody_has_together() -> None:
    both = policy("p", rule(WEB, [has(app="web", tier="x")]))
    other = EndpointUpserted(replace(endpoint(3, tier="x"), labels=frozenset({Label("k8s", "tier", "x")})))
    (alone,) = [each for each in found([both], A, other) if each[0] == "nobody"]
    assert alone[2] == "the rule is about nobody there is: app=web, tier=x; nobody has all of it"


def test_endpoints_that_nothing_may_reach() -> None:
    shut = policy("p", rule(WEB, []))
    assert found([shut], A, B) == [
        (
            "sealed",
            1,
            "isolates default/e1, and no rule lets anything in",
            "write an ingress rule that names who may come in",
        )
    ]
    assert found([shut, policy("q", rule(WEB, [STORE]))], A, B) == []
    assert found([policy("p", rule(WEB, [], direction=Direction.EGRESS))], A, B) == []


def test_a_cidr_around_endpoints() -> None:
    wide = policy("p", rule(WEB, [cidr("10.0.0.0/8")]), rule(WEB, [cidr("0.0.0.0/0", "10.0.0.0/8")]))
    assert found([wide], A, B) == [
        (
            "covers-pods",
            1,
            "10.0.0.0/8 holds the address of default/e1 and 1 more, whom a CIDR never selects",
            "name them with fromEndpoints",
        )
    ]
    assert found([policy("p", rule(WEB, [cidr("10.0.0.0/8", "10.0.0.0/24")]))], A, B) == []
