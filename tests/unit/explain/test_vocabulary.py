import pytest

from kinety.explain.vocabulary import Vocabulary, closest, distance
from kinety.model.selector import Operator
from tests.unit.plan.saying import has, labels, where


@pytest.mark.parametrize(
    ("one", "other", "slips"),
    [
        ("", "", 0),
        ("", "ab", 2),
        ("web", "wbe", 1),
        ("web", "wb", 1),
        ("database", "databsae1", 2),
        ("ab", "cd", 2),
    ],
)
def test_distance(one: str, other: str, slips: int) -> None:
    assert distance(one, other) == distance(other, one) == slips


def test_the_closest_word() -> None:
    assert closest("wbe", ["wide", "web"]) == "web"
    assert closest("abc", ["xyz", "axz"]) is None
    assert closest("frontent", ["backend", "frontend"]) == "frontend"
    assert closest("a", []) is None


def test_only_what_somebody_must_have_can_be_unknown() -> None:
    words = Vocabulary([labels(app="web"), labels(app="store", tier="back")])
    assert words.unknown(has(app="web")) == ""
    assert words.unknown(where("app", Operator.IN, "x", "web")) == ""
    assert words.unknown(where("app", Operator.NOT_IN, "x")) == ""
    assert words.unknown(where("color", Operator.DOES_NOT_EXIST)) == ""
    assert words.unknown(where("color", Operator.EXISTS)) == "nobody has a label color"
    assert words.unknown(where("app", Operator.IN, "x", "y")) == "nobody has app=x or app=y"
    assert words.meant(where("tire", Operator.EXISTS)) == "did you mean the label tier?"
    assert words.meant(has(app="stroe")) == "did you mean app=store?"
    assert words.meant(has(app="web")) == ""
