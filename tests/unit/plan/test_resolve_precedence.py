"""Every line of docs/reference/precedence.md, asked of everything that can answer without a kernel.

The page is read, not copied: a line without a case fails, and so does a case without a line.
"""

import re
from pathlib import Path

import pytest

from tests.unit.plan import precedence, precedence_tiers
from tests.unit.plan.judging import Judges, probes

CASES = precedence.CASES | precedence_tiers.CASES
PAGE = Path(__file__).parents[3] / "docs/reference/precedence.md"
LINES = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", PAGE.read_text(), re.M))

#: Lines that speak of one outcome only.
ONE_SIDED = {"open", "other-subject", "no-peers", "deny-more-peers", "deny-more-ports"}


def test_every_line_of_the_page_has_a_case_and_every_case_a_line() -> None:
    assert LINES.keys() == CASES.keys()
    assert len(re.findall(r"^\| `", PAGE.read_text(), re.M)) == len(LINES), "no id twice"


@pytest.mark.parametrize("order", ["forwards", "backwards"])
@pytest.mark.parametrize("line", LINES)
def test_line(line: str, order: str) -> None:
    case = CASES[line]
    judges = Judges(case)
    judges.apply(case.policies, backwards=order == "backwards")
    asked = [*probes(case.probes)]
    outcomes = {probe.answer[0] for probe in [*asked, *probes(case.later)]}
    assert outcomes >= {"allow", "deny"} or "redirect" in outcomes or line in ONE_SIDED
    judges.ask_all(case.probes)
    if case.then:
        judges.apply(case.then, backwards=order == "backwards")
        judges.ask_all(case.later)
