import pytest

from kinety.policy.error import MAX_LINES, Finding, PolicyError

ONE = Finding("p.yaml", 11, 3, "spec.toPorts", "toPorts belongs elsewhere", "move it")


def test_a_finding_is_one_line() -> None:
    assert str(ONE) == "p.yaml:11: spec.toPorts: toPorts belongs elsewhere; move it"
    assert str(Finding("p.yaml", 3, 1, "", "not YAML")) == "p.yaml:3: not YAML"
    assert str(Finding("p.yaml", 0, 0, "", "too large", "split it")) == "p.yaml: too large; split it"


def test_an_error_speaks_of_its_first_finding_and_keeps_the_others() -> None:
    error = PolicyError([ONE, Finding("q.yaml", 1, 1, "spec", "bad")])
    assert str(error) == str(ONE)
    assert (error.file, error.line, error.column, error.path) == ("p.yaml", 11, 3, "spec.toPorts")
    assert (error.message, error.hint) == (ONE.message, ONE.hint)
    assert error.lines() == (str(ONE), "q.yaml:1: spec: bad")


def test_what_is_too_much_to_read_is_counted() -> None:
    error = PolicyError([ONE] * (MAX_LINES + 5))
    assert len(error.findings) == MAX_LINES + 5
    assert len(error.lines()) == MAX_LINES + 1
    assert error.lines()[-1] == "... and 5 more"


def test_an_error_without_findings_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one finding"):
        PolicyError([])
