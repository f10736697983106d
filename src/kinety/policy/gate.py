"""What policies may already say and nothing carries out yet: refused before it is put into force.

A rule whose content was left out would let through more than it says.
"""

from collections.abc import Iterable, Iterator

from kinety.model.rule import Policy, Rule
from kinety.policy.error import Finding, PolicyError


def refuse_unenforced(policies: Iterable[Policy]) -> None:
    """Raises PolicyError for every rule that asks for what the plan does not do yet."""
    findings = [
        Finding(rule.origin.file, rule.origin.line, 0, rule.origin.path, f"{what} are not enforced yet", hint)
        for policy in policies
        for rule in policy.rules
        for what, hint in _beyond_the_plan(rule)
    ]
    if findings:
        raise PolicyError(findings)


def _beyond_the_plan(rule: Rule) -> Iterator[tuple[str, str]]:
    """What a rule asks for in vain, and what to write instead."""
    if rule.layer7 is not None:
        hint = "leave them out to allow the whole port; `kinety test` judges them already"
        yield "rules about content (rules, serverNames)", hint
