from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinety.identity.journal import Journal
from kinety.model.endpoint import Listen
from kinety.model.label import Labels
from kinety.model.rule import Action, Direction, NamedPort, Policy, PolicyKey
from kinety.model.verdict import VerdictKind
from kinety.plan.rule_book import ALLOW_LOCALHOST, PolicyName, RuleBook, name_of
from kinety.plan.term import term_of
from tests.unit.plan.generation import NAMES, label_sets, policies
from tests.unit.plan.saying import has, labels, policy, rule, tcp

KEYS = {name: policy(name).key for name in NAMES}
#: A policy as it is from now on, or the name of one that goes.
turns = st.lists(st.one_of(policies, st.sampled_from(NAMES)), max_size=8)


def book() -> tuple[RuleBook, Journal]:
    journal = Journal()
    return RuleBook(journal, 1000, {}), journal


def take(rules: RuleBook, known: dict[PolicyKey, Policy], turn: Policy | str) -> None:
    rules.begin()
    before = dict(rules.rules())
    if isinstance(turn, str):
        gone = rules.remove(KEYS[turn])
        was = known.pop(KEYS[turn], None)
        assert [each.rule for each in gone] == list(was.rules if was else ())
    else:
        _, after = rules.upsert(turn)
        known[turn.key] = turn
        assert [each.rule for each in after] == list(turn.rules)
    rules.retire()
    after_all = dict(rules.rules())
    assert rules.removed == before.keys() - after_all.keys()
    assert {each: found for each, found in after_all.items() if before.get(each) != found} == rules.changed
    assert rules.named.keys() == after_all.keys() - before.keys()


def check(rules: RuleBook, known: dict[PolicyKey, Policy], subject: Labels) -> None:
    everything = [each for found in known.values() for each in found.rules]
    assert sorted(map(str, rules.rules().values())) == sorted(map(str, everything))
    assert len(rules) == len(everything)
    assert dict(rules.policies()) == known
    assert set(rules.names().values()) == rules.rules().keys()
    wanted: dict[PolicyName, list[object]] = {}
    for key, found in known.items():
        if matching := [each for each in found.rules if each.subject.matches(subject)]:
            wanted[name_of(key)] = matching
    selecting = rules.selecting(subject)
    assert {name: [each.rule for each in found] for name, found in selecting.items()} == wanted
    for found in selecting.values():
        for each in found:
            assert rules.rules()[each.number] == each.rule
            assert each.term == term_of(each.rule, each.number)


@settings(deadline=None)
@given(turns, label_sets)
def test_the_book_holds_the_policies_in_force(changes: list[Policy | str], subject: Labels) -> None:
    rules, _ = book()
    known: dict[PolicyKey, Policy] = {}
    for turn in changes:
        take(rules, known, turn)
        check(rules, known, subject)


@settings(deadline=None)
@given(turns, turns, label_sets)
def test_a_change_taken_back_leaves_no_trace(
    kept: list[Policy | str], undone: list[Policy | str], subject: Labels
) -> None:
    (rules, journal), (twin, _) = book(), book()
    known: dict[PolicyKey, Policy] = {}
    for turn in kept:
        take(twin, dict(known), turn)
        take(rules, known, turn)
    journal.commit()
    for turn in undone:
        take(rules, dict(known), turn)
        journal.rollback()
        check(rules, known, subject)
        assert rules.names() == twin.names()
    rules.begin()
    twin.begin()
    last = policy("last", rule(has(app="a")), rule(has(app="b")))
    assert [each.number for each in rules.upsert(last)[1]] == [each.number for each in twin.upsert(last)[1]]


FIRST, SECOND = rule(has(app="a"), None, [tcp(80)]), rule(has(app="a"), None, [tcp(81)])


def test_a_rule_keeps_its_number_through_an_edit_and_its_object_while_it_says_the_same() -> None:
    """So its counter goes on; and equal objects are how tables are shared."""
    rules, _ = book()
    _, (one, two) = rules.upsert(policy("p", FIRST, SECOND))
    _, (same, other) = rules.upsert(policy("p", FIRST, replace(SECOND, action=Action.DENY)))
    assert same is one
    assert other is not two
    assert (other.number, other.term.verdict.kind) == (two.number, VerdictKind.DENY)


def test_a_rule_that_only_moved_in_its_file_is_the_same_object_with_another_line() -> None:
    rules, _ = book()
    _, (one,) = rules.upsert(policy("p", FIRST, line=3))
    rules.begin()
    before, (moved,) = rules.upsert(policy("p", FIRST, line=9))
    assert before == (moved,) == (one,)
    assert moved.rule.origin.line == 9
    assert rules.changed == {one.number: moved.rule}, "answers must name the new line"
    assert not rules.named


def test_the_same_policy_again_changes_nothing() -> None:
    rules, _ = book()
    rules.upsert(policy("p", FIRST))
    rules.begin()
    before, after = rules.upsert(policy("p", FIRST))
    assert before is after
    assert (rules.changed, rules.named, rules.removed) == ({}, {}, set())


def test_rules_of_one_path_are_told_apart() -> None:
    """A path such as ``spec.ingress[0]`` is two rules when an item names ports and ICMP types."""
    written = policy("p", FIRST, SECOND)
    twice = replace(
        written, rules=tuple(replace(each, origin=written.rules[0].origin) for each in written.rules)
    )
    rules, _ = book()
    _, (one, two) = rules.upsert(twice)
    assert one.number != two.number
    assert sorted(rules.names()) == [
        "CiliumNetworkPolicy/default/p spec.rule[0]",
        "CiliumNetworkPolicy/default/p spec.rule[0] #2",
    ]


def test_a_rule_of_another_policy_is_refused_and_leaves_nothing() -> None:
    rules, journal = book()
    rules.upsert(policy("p", FIRST))
    journal.commit()
    with pytest.raises(ValueError, match=r"default/q: rule spec.rule\[0\] says it is of .*default/p"):
        rules.upsert(replace(policy("q"), rules=policy("p", SECOND).rules))
    journal.rollback()
    assert [*rules.policies()] == [KEYS["p"]]


def test_hinted_numbers_are_kept_and_not_given_to_others() -> None:
    hints = {"CiliumNetworkPolicy/default/q spec.rule[0]": 1}
    rules = RuleBook(Journal(), 1000, hints)
    assert [each.number for each in rules.upsert(policy("p", FIRST))[1]] == [2]
    assert [each.number for each in rules.upsert(policy("q", FIRST))[1]] == [1]


def test_what_a_rule_says_is_its_digest_and_where_it_stands_in_the_file_is_not() -> None:
    def digest(found: Policy) -> bytes:
        rules, _ = book()
        return rules.upsert(found)[1][0].digest

    same = digest(policy("p", FIRST))
    assert digest(policy("p", FIRST, line=77, file="other.yaml")) == same
    others = [
        policy("q", FIRST),
        policy("p", SECOND),
        policy("p", replace(FIRST, action=Action.DENY)),
        policy("p", replace(FIRST, direction=Direction.EGRESS)),
        policy("p", replace(FIRST, peers=())),
        policy("p", replace(FIRST, default_deny=False)),
        policy("p", replace(FIRST, ports=None)),
        policy("p", replace(FIRST, ports=())),
    ]
    assert len({same, *map(digest, others)}) == 1 + len(others)


def test_the_option_is_a_rule_that_no_policy_holds() -> None:
    rules, _ = book()
    option = rules.option(ALLOW_LOCALHOST)
    assert rules.rules() == {option.number: ALLOW_LOCALHOST}
    assert not rules.policies()
    assert not rules.selecting(labels(app="a")), "it is not the subject's: it comes last, where they isolate"
    assert str(ALLOW_LOCALHOST.origin) == "option allow-localhost"


NAMING = rule(has(app="a"), None, [tcp(80)], named=[NamedPort(6, "web")])
HTTP, OTHER = Listen("web", 6, 8080), Listen("web", 6, 9090)


def test_parts_of_a_rule_share_its_number_and_come_and_go_beside_it() -> None:
    rules, _ = book()
    rules.directory.put_ports((), [HTTP])
    written = policy("p", FIRST, NAMING)
    _, (first, plain, web) = rules.upsert(written)
    assert (first.number, plain.number, web.number) == (1, 2, 2)
    assert [dict(rules.rules())[each] for each in (1, 2)] == list(written.rules), "as they were written"
    assert len(rules) == 2
    assert len({each.digest for each in (first, plain, web)}) == 3
    rules.begin()
    rules.directory.put_ports([HTTP], [OTHER])
    assert [*rules.directory.stale] == [written.key]
    before, after = rules.upsert(written)
    assert before == (first, plain, web)
    assert after[:2] == (first, plain), "what says the same is the same object"
    assert (after[2].number, after[2].rule.ports) == (2, (tcp(9090),))
    rules.retire()
    assert (rules.changed, rules.named, rules.removed) == ({}, {}, set()), "nothing of it was written anew"
    assert dict(rules.policies()) == {written.key: written}
    rules.begin()
    rules.remove(written.key)
    rules.retire()
    assert rules.removed == {1, 2}


def test_subjects_of_parts_are_found_by_their_ports() -> None:
    rules, _ = book()
    rules.directory.put_ports((), [HTTP])
    rules.upsert(policy("p", NAMING))
    ((plain,),) = rules.selecting(labels(app="a")).values()
    ((same, web),) = rules.selecting(labels(app="a") | {HTTP.label}).values()
    assert (plain is same, web.rule.ports) == (True, (tcp(8080),))
