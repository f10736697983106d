import pytest

from kinety.model.label import Label
from kinety.model.selector import LabelSelector, Operator, Requirement

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
