"""What policies may say and nothing can carry out: refused before it is put into force.

A rule whose content was left out would let through more than it says.
"""

from collections.abc import Iterable, Iterator

from kinety.model.rule import Policy, Rule
from kinety.policy.error import Finding, PolicyError


def refuse_unenforced(policies: Iterable[Policy]) -> None:
    """Raises PolicyError for every rule that asks for what nothing can carry out."""
    findings = [
        Finding(rule.origin.file, rule.origin.line, 0, rule.origin.path, f"{what} are not enforced yet", hint)
        for policy in policies
        for rule in policy.rules
        for what, hint in _beyond_us(rule)
    ]
    if findings:
        raise PolicyError(findings)


def _beyond_us(rule: Rule) -> Iterator[tuple[str, str]]:
    """What a rule asks for in vain, and what to write instead."""
    requests = () if rule.layer7 is None else rule.layer7.http
    if any(header.secret is not None for request in requests for header in request.headers):
        yield "values of headers that secrets hold", "write the value; there is no source of secrets"
