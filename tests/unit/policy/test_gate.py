"""What cannot be enforced is refused before it is in force, with the place it was written at."""

import pytest

from kinety.policy.error import PolicyError
from kinety.policy.gate import refuse_unenforced
from tests.unit.policy.sample import parse, text

RULE = """\
endpointSelector: {}
ingress:
- toPorts:
  - ports: [{port: '80', protocol: TCP}]
    rules: {http: [{headerMatches: [%s]}]}
"""


def test_values_that_secrets_hold_are_refused_all_at_once() -> None:
    secret = RULE % "{name: x-token, secret: {name: token}}"
    with pytest.raises(PolicyError) as caught:
        refuse_unenforced(
            [*parse(text(secret)), *parse(text(RULE % "{name: a, value: b}")), *parse(text(secret))]
        )
    first, second = caught.value.findings
    assert first == second
    assert (first.path, first.line > 0) == ("spec.ingress[0]", True)
    assert first.message == "values of headers that secrets hold are not enforced yet"
    assert "write the value" in first.hint


@pytest.mark.parametrize(
    "header", ["{name: a}", "{name: a, value: b}", "{name: a, value: b, mismatch: REPLACE}"]
)
def test_other_rules_about_content_are_let_through(header: str) -> None:
    policies = parse(text(RULE % header))
    assert policies[0].rules[0].layer7 is not None
    refuse_unenforced(policies)
