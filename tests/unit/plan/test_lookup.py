import pytest

from kinety.model.identity import ClassId
from kinety.model.rule import RuleId
from kinety.model.verdict import DEFAULT_DENY, Verdict, VerdictKind
from kinety.plan.change import RuleSetId
from kinety.plan.lookup import judge, longest
from kinety.plan.resolve import Row, Template
from kinety.plan.table import DEFAULT_ALLOW, Table
from tests.unit.plan.saying import ICMP, TCP, UDP

ONE, TWO, THREE, FOUR = (Verdict(VerdictKind.ALLOW, RuleId(number)) for number in range(1, 5))


def table(rows: dict[ClassId, tuple[Row, ...]]) -> Table:
    templates = {class_id: Template(each) for class_id, each in rows.items()}
    return Table(RuleSetId("x"), (), DEFAULT_DENY, (), templates=templates)


NESTED = [Row(0, 0, 0, ONE), Row(8, TCP, 0, TWO), Row(14, TCP, 1024, THREE), Row(24, TCP, 1030, FOUR)]


@pytest.mark.parametrize(
    ("protocol", "port", "verdict"),
    [
        (UDP, 1030, ONE),
        (ICMP, 8, ONE),
        (TCP, 1023, TWO),
        (TCP, 2048, TWO),
        (TCP, 1024, THREE),
        (TCP, 2047, THREE),
        (TCP, 1030, FOUR),
    ],
)
def test_the_longest_row_decides_in_whatever_order_they_are(
    protocol: int, port: int, verdict: Verdict
) -> None:
    assert longest(NESTED, protocol, port) == verdict
    assert longest(reversed(NESTED), protocol, port) == verdict


def test_no_row_denies() -> None:
    assert longest([], TCP, 80) == DEFAULT_DENY
    assert longest([Row(24, TCP, 80, ONE)], TCP, 81) == DEFAULT_DENY


def test_no_table_allows_whatever_it_is() -> None:
    assert judge(None, ClassId(7), TCP, 80) == DEFAULT_ALLOW


def test_a_class_that_is_named_does_not_fall_back() -> None:
    """Its rows are complete: what they deny by default, class 0's may allow."""
    rows = {
        ClassId(0): (Row(24, TCP, 80, ONE), Row(24, TCP, 81, ONE)),
        ClassId(7): (Row(0, 0, 0, DEFAULT_DENY), Row(24, TCP, 80, TWO)),
    }
    found = table(rows)
    assert judge(found, ClassId(7), TCP, 80) == TWO
    assert judge(found, ClassId(7), TCP, 81) == DEFAULT_DENY
    for other in (ClassId(0), ClassId(8)):
        assert judge(found, other, TCP, 80) == ONE
        assert judge(found, other, TCP, 82) == DEFAULT_DENY


def test_an_empty_table_denies_everybody() -> None:
    assert judge(table({}), ClassId(0), TCP, 80) == DEFAULT_DENY
    assert judge(table({}), ClassId(3), UDP, 53) == DEFAULT_DENY
