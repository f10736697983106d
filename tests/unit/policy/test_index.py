from hypothesis import given, settings
from hypothesis import strategies as st

from kinety.model.label import Label, Labels
from kinety.model.rule import Action, Direction, Origin, Policy, PolicyKey, Rule
from kinety.model.selector import LabelSelector, Operator, Requirement
from kinety.policy.index import RuleIndex


def requirement(key: str, operator: Operator, *values: str, source: str = "any") -> Requirement:
    return Requirement(source, key, operator, tuple(sorted(values)))


def policy(name: str, *subjects: LabelSelector, namespace: str = "default") -> Policy:
    key = PolicyKey("CiliumNetworkPolicy", namespace, name)
    return Policy(
        key,
        tuple(
            Rule(
                subject,
                Direction.INGRESS,
                Action.ALLOW,
                None,
                None,
                True,
                Origin(key, "p.yaml", i + 1, f"spec[{i}]"),
            )
            for i, subject in enumerate(subjects)
        ),
    )


def labels(**pairs: str) -> Labels:
    return frozenset(Label("k8s", key, value) for key, value in pairs.items())


EMPIRE = LabelSelector((requirement("org", Operator.IN, "empire"),))
ANYONE = LabelSelector()
HAS_ORG = LabelSelector((requirement("org", Operator.EXISTS),))
NOT_EMPIRE = LabelSelector((requirement("org", Operator.NOT_IN, "empire"),))


def names(index: RuleIndex, of: Labels) -> list[str]:
    return [f"{rule.origin.policy.name}:{rule.origin.line}" for rule in index.rules_for(of)]


def test_rules_are_found_by_the_labels_they_select() -> None:
    index = RuleIndex(
        [policy("a", EMPIRE), policy("b", ANYONE), policy("c", HAS_ORG), policy("d", NOT_EMPIRE)]
    )
    assert names(index, labels(org="empire")) == ["a:1", "b:1", "c:1"]
    assert names(index, labels(org="alliance")) == ["b:1", "c:1", "d:1"]
    assert names(index, labels(app="web")) == ["b:1", "d:1"]


def test_a_source_in_the_selector_is_obeyed() -> None:
    selector = LabelSelector((requirement("org", Operator.IN, "empire", source="container"),))
    index = RuleIndex([policy("a", selector)])
    assert names(index, labels(org="empire")) == []
    assert names(index, frozenset({Label("container", "org", "empire")})) == ["a:1"]


def test_the_order_is_the_key_and_then_as_written() -> None:
    first = policy("b", EMPIRE, ANYONE, EMPIRE, HAS_ORG)
    second = policy("a", EMPIRE)
    expected = ["a:1", "b:1", "b:2", "b:3", "b:4"]
    assert names(RuleIndex([first, second]), labels(org="empire")) == expected
    assert names(RuleIndex([second, first]), labels(org="empire")) == expected


def test_upsert_replaces_and_remove_forgets() -> None:
    index = RuleIndex()
    old, new = policy("a", EMPIRE), policy("a", HAS_ORG)
    assert index.upsert(old) is None
    assert index.upsert(new) is old
    assert names(index, labels(org="alliance")) == ["a:1"]
    assert index.subject_selectors() == {HAS_ORG}
    assert index.remove(new.key) is new
    assert index.remove(new.key) is None
    assert names(index, labels(org="alliance")) == []
    assert not index.subject_selectors()
    assert not index.policies


def test_a_key_with_two_sources_and_two_wanted_values_gives_a_rule_once() -> None:
    index = RuleIndex([policy("a", LabelSelector((requirement("org", Operator.IN, "empire", "rebels"),)))])
    both = frozenset({Label("k8s", "org", "empire"), Label("container", "org", "rebels")})
    assert names(index, both) == ["a:1"]


_keys = st.sampled_from(["a", "b", "c"])
_values = st.sampled_from(["1", "2", "3"])
_requirements = st.one_of(
    st.builds(
        lambda key, operator, values: requirement(key, operator, *values),
        _keys,
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.sets(_values, min_size=1),
    ),
    st.builds(requirement, _keys, st.sampled_from([Operator.EXISTS, Operator.DOES_NOT_EXIST])),
)
_selectors = st.builds(lambda found: LabelSelector(tuple(found)), st.lists(_requirements, max_size=3))
_policies = st.builds(
    lambda name, subjects: policy(name, *subjects),
    st.sampled_from(["p", "q", "r", "s", "t"]),
    st.lists(_selectors, max_size=4),
)
_labels = st.dictionaries(_keys, _values).map(lambda pairs: labels(**pairs))


@settings(max_examples=200)
@given(st.lists(st.tuples(st.booleans(), _policies), max_size=12), st.lists(_labels, min_size=1, max_size=4))
def test_it_answers_as_a_scan_would(steps: list[tuple[bool, Policy]], subjects: list[Labels]) -> None:
    index = RuleIndex()
    live: dict[PolicyKey, Policy] = {}
    for keep, changed in steps:
        if keep:
            index.upsert(changed)
            live[changed.key] = changed
        else:
            index.remove(changed.key)
            live.pop(changed.key, None)
        for subject in subjects:
            scan = [r for key in sorted(live) for r in live[key].rules if r.subject.matches(subject)]
            assert list(index.rules_for(subject)) == scan
    assert index.subject_selectors() == {r.subject for found in live.values() for r in found.rules}


def test_rules_that_do_not_select_are_not_looked_at() -> None:
    in_namespace = requirement("io.kubernetes.pod.namespace", Operator.IN, "default", source="k8s")
    index = RuleIndex(
        policy(f"p{i}", LabelSelector((in_namespace, requirement("app", Operator.IN, f"app{i}"))))
        for i in range(2000)
    )
    subject = frozenset({Label("k8s", "io.kubernetes.pod.namespace", "default"), Label("k8s", "app", "app7")})
    assert names(index, subject) == ["p7:1"]
    # The namespace's bin holds only what the greedy choice put there on the way: one, not two thousand.
    assert len(list(index._candidates(subject))) <= 3
