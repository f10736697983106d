from dataclasses import replace

import pytest

from kinety.model.rule import Action, PortRange, Rule, RuleId, Tier
from kinety.model.verdict import Verdict, VerdictKind
from kinety.plan.term import ADMIN, ALLOW, BASELINE, CONTENT, DENY, Term, term_of
from tests.unit.plan.saying import http, rule, tcp

SEVEN = RuleId(7)


def test_each_action_of_each_tier_has_its_rank() -> None:
    ranks = {
        (tier, action): term_of(rule(tier=tier, action=action), SEVEN).rank
        for tier in Tier
        for action in Action
        if (tier, action) != (Tier.NORMAL, Action.PASS)
    }
    assert {ranks[Tier.ADMIN, action] for action in Action} == {ADMIN}
    assert {ranks[Tier.BASELINE, action] for action in Action} == {BASELINE}
    assert (ranks[Tier.NORMAL, Action.DENY], ranks[Tier.NORMAL, Action.ALLOW]) == (DENY, ALLOW)
    assert sorted([ADMIN, DENY, CONTENT, ALLOW, BASELINE]) == [ADMIN, DENY, CONTENT, ALLOW, BASELINE]


def test_a_rule_about_content_redirects_and_one_that_passes_has_no_verdict() -> None:
    said = rule(ports=[tcp(80)], layer7=http("/a"))
    asking, asked = term_of(said, SEVEN), replace(http("/a"), policies=(str(said.origin.policy),))
    assert asking == Term(Verdict(VerdictKind.REDIRECT, SEVEN), (tcp(80),), CONTENT, asked)
    assert term_of(rule(action=Action.PASS, tier=Tier.ADMIN), SEVEN).verdict is None


def test_one_range_of_every_protocol_is_everything() -> None:
    assert term_of(rule(ports=[tcp(80), PortRange(0)]), SEVEN).ports is None
    assert term_of(rule(ports=[]), SEVEN).ports == ()


@pytest.mark.parametrize(
    ("impossible", "why"),
    [
        (rule(action=Action.PASS), "no order in which to pass"),
        (rule(action=Action.DENY, layer7=http("/a")), "only allow rules"),
        (rule(tier=Tier.ADMIN, layer7=http("/a")), "only allow rules"),
    ],
)
def test_what_cannot_be_is_refused_by_file_and_line(impossible: Rule, why: str) -> None:
    written = replace(impossible, origin=replace(impossible.origin, file="p.yaml", line=4, path="spec.x"))
    with pytest.raises(ValueError, match=rf"p\.yaml:4: spec\.x: .*{why}"):
        term_of(written, SEVEN)
