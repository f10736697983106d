from dataclasses import replace

from kinety.identity.journal import Journal
from kinety.model.endpoint import EndpointId
from kinety.model.identity import Identity
from kinety.model.rule import Direction, Mode, Policy, Tier
from kinety.model.verdict import DEFAULT_DENY
from kinety.plan.change import EndpointPlan, RuleSetId
from kinety.plan.rule_book import ALLOW_LOCALHOST, RuleBook, name_of
from kinety.plan.subject import Subject, directed, shadowing
from kinety.plan.table import Table
from tests.unit.plan.saying import has, policy, rule, tcp

BOOK = RuleBook(Journal(), 1000, {})
OPTION = BOOK.option(ALLOW_LOCALHOST)


def subject(*found: Policy) -> Subject:
    made = Subject(Identity(256))
    for each in found:
        made.policies[name_of(each.key)] = BOOK.upsert(each)[1]
    return made


def paths(made: Subject, direction: Direction, *, option: bool = True) -> list[str]:
    found = directed(made.policies, direction, OPTION if option else None)
    return [f"{each.rule.origin.policy.name} {each.rule.origin.path}" for each in found]


def plan(egress: str | None = None, ingress: str | None = None, ipv6: int = 256) -> EndpointPlan:
    sets = [None if name is None else RuleSetId(name) for name in (egress, ingress)]
    return EndpointPlan(Identity(256), sets[0], sets[1], Identity(256), Identity(ipv6))


IN, OUT = (
    rule(has(app="a"), None, [tcp(80)], direction=each) for each in (Direction.INGRESS, Direction.EGRESS)
)
OPEN = rule(has(app="a"), None, [tcp(81)], default_deny=False)


def test_rules_come_by_policy_and_then_as_written_whatever_came_first() -> None:
    b, a = policy("b", IN, OUT, OPEN), policy("a", OPEN, IN)
    expected = ["a spec.rule[0]", "a spec.rule[1]", "b spec.rule[0]", "b spec.rule[2]"]
    assert paths(subject(b, a), Direction.INGRESS, option=False) == expected
    assert paths(subject(a, b), Direction.INGRESS, option=False) == expected
    assert paths(subject(a, b), Direction.EGRESS, option=False) == ["b spec.rule[1]"]


def test_the_option_is_last_and_only_where_somebody_isolates_for_ingress() -> None:
    isolated = paths(subject(policy("p", IN)), Direction.INGRESS)
    assert isolated == ["p spec.rule[0]", "allow-localhost allow-localhost"]
    assert paths(subject(policy("p", OPEN)), Direction.INGRESS) == ["p spec.rule[0]"]
    assert paths(subject(policy("p", OUT)), Direction.EGRESS) == ["p spec.rule[0]"]
    assert paths(subject(), Direction.INGRESS) == []


def test_tiers_come_in_their_order_and_by_priority_and_the_baseline_only_where_nobody_isolates() -> None:
    def tiered(name: str, tier: Tier, *priorities: int) -> Policy:
        return policy(name, *(rule(has(app="a"), tier=tier, priority=each) for each in priorities))

    admin, other = tiered("b", Tier.ADMIN, 5, 0), tiered("a", Tier.ADMIN, 5)
    baseline = tiered("c", Tier.BASELINE, 0, 1000)
    first = ["b spec.rule[1]", "a spec.rule[0]", "b spec.rule[0]"]
    last = ["c spec.rule[0]", "c spec.rule[1]"]
    between = subject(baseline, admin, policy("z", OPEN), other)
    assert paths(between, Direction.INGRESS) == [*first, "z spec.rule[0]", *last]
    isolated = subject(baseline, admin, policy("z", IN), other)
    option = "allow-localhost allow-localhost"
    assert paths(isolated, Direction.INGRESS) == [*first, "z spec.rule[0]", option]


def test_no_tier_but_that_of_policies_isolates() -> None:
    for tier in (Tier.ADMIN, Tier.BASELINE):
        lax = subject(policy("p", rule(has(app="a"), tier=tier, default_deny=True)))
        assert paths(lax, Direction.INGRESS) == ["p spec.rule[0]"]


def test_a_plan_names_a_table_for_each_direction_or_none() -> None:
    made = Subject(Identity(256), {EndpointId(1)})
    assert made.plan() == plan()
    egress, ingress = (Table(RuleSetId(name), (), DEFAULT_DENY, ()) for name in ("out", "in"))
    made.tables = (egress, ingress)
    assert made.plan() == plan("out", "in")
    made.tables = (None, ingress)
    assert made.plan() == plan(None, "in")


def test_rules_out_of_force_are_in_the_shadow_alone_and_only_where_they_have_a_say() -> None:
    def shadow(made: Subject) -> list[str]:
        found = shadowing(made.policies, Direction.INGRESS, OPTION)
        return [f"{each.rule.origin.policy.name} {each.rule.origin.path}" for each in found]

    staged, plain = policy("b", replace(OPEN, mode=Mode.STAGED)), policy("a", OPEN)
    assert paths(subject(staged, plain), Direction.INGRESS) == ["a spec.rule[0]"]
    assert shadow(subject(staged, plain)) == ["a spec.rule[0]", "b spec.rule[0]"]
    assert shadow(subject(plain)) == []
    assert shadow(subject(policy("b", replace(OUT, mode=Mode.AUDIT)), plain)) == []
    silent = rule(has(app="a"), tier=Tier.BASELINE)
    assert shadow(subject(policy("b", replace(silent, mode=Mode.STAGED)), policy("a", IN))) == []


def test_an_endpoint_in_audit_obeys_nothing_and_is_told_of_everything() -> None:
    made = Subject(Identity(256), {EndpointId(1)})
    out, inward, beside = (Table(RuleSetId(name), (), DEFAULT_DENY, ()) for name in ("out", "in", "beside"))
    made.tables, made.shadow = (out, inward), (None, beside)
    assert made.plan() == replace(plan("out", "in"), shadow_ingress=RuleSetId("beside"))
    audited = replace(plan(), shadow_egress=RuleSetId("out"), shadow_ingress=RuleSetId("beside"))
    assert made.plan(audit=True) == audited


def test_a_plan_says_who_the_endpoint_is_to_others_in_each_family() -> None:
    made = Subject(Identity(256), {EndpointId(1)})
    assert made.plan(ipv6=Identity(300)) == plan(ipv6=300)
