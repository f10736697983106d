import pytest

from kinety.model.address import Prefix
from kinety.model.label import Label
from kinety.model.selector import BlockSelector, LabelSelector, Operator, Requirement

LABELS = frozenset(
    {Label("k8s", "org", "empire"), Label("container", "org", "rebels"), Label("k8s", "app", "")}
)


@pytest.mark.parametrize(
    ("requirement", "matches"),
    [
        (Requirement("any", "org", Operator.IN, ("empire",)), True),
        (Requirement("any", "org", Operator.IN, ("rebels",)), True),
        (Requirement("k8s", "org", Operator.IN, ("rebels",)), False),
        (Requirement("any", "org", Operator.NOT_IN, ("alliance",)), True),
        (Requirement("any", "org", Operator.NOT_IN, ("empire",)), False),
        (Requirement("any", "class", Operator.NOT_IN, ("x",)), True),
        (Requirement("any", "app", Operator.EXISTS), True),
        (Requirement("reserved", "app", Operator.EXISTS), False),
        (Requirement("any", "class", Operator.DOES_NOT_EXIST), True),
        (Requirement("any", "app", Operator.DOES_NOT_EXIST), False),
    ],
)
def test_requirement(requirement: Requirement, matches: bool) -> None:
    assert requirement.matches(LABELS) is matches
    assert LabelSelector((requirement,)).matches(LABELS) is matches


def test_all_requirements_must_hold() -> None:
    yes = Requirement("any", "app", Operator.EXISTS)
    no = Requirement("any", "class", Operator.EXISTS)
    assert LabelSelector((yes,)).matches(LABELS)
    assert not LabelSelector((yes, no)).matches(LABELS)


def test_an_empty_selector_selects_everything() -> None:
    assert LabelSelector().matches(LABELS)
    assert LabelSelector().matches(frozenset())


@pytest.mark.parametrize("source", ["port", "block", "fqdn"])
@pytest.mark.parametrize("operator", [Operator.EXISTS, Operator.DOES_NOT_EXIST])
def test_what_kinety_tells_of_is_seen_by_its_source_alone(source: str, operator: Operator) -> None:
    told = LABELS | {Label(source, "web", "80/TCP")}
    seen = operator is Operator.EXISTS
    assert Requirement("any", "web", operator).matches(told) is not seen
    assert Requirement(source, "web", operator).matches(told) is seen


def test_a_block_has_a_label_of_its_own() -> None:
    prefix, hole = Prefix.parse("10.0.0.0/8"), Prefix.parse("10.1.0.0/16")
    whole, part = BlockSelector(prefix), BlockSelector(prefix, (hole,))
    assert [str(each.label) for each in (whole, part)] == [
        "block:10.0.0.0/8",
        "block:10.0.0.0/8 except 10.1.0.0/16",
    ]
    assert BlockSelector(prefix, (hole,), LabelSelector()).label == part.label, "whoever it is among"
