"""Annotations that say whether a policy is in force, staged or in audit.

A misspelt annotation would put a policy into force that was not meant to be, so every annotation of
``kinety.io`` that nobody knows is refused.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kinety.model.rule import Mode, Policy
from kinety.policy.diagnosis import closest
from kinety.policy.document import LocatedMapping, Path
from kinety.policy.report import Report

PREFIX = "kinety.io/"
#: What puts a policy out of force, by the mode it is then in.
ANNOTATIONS: Mapping[Mode, str] = {Mode.STAGED: f"{PREFIX}staged", Mode.AUDIT: f"{PREFIX}audit"}
_VALUES = {"true": True, "false": False}


def in_its_mode(report: Report, path: Path, policy: Policy) -> Policy:
    """A policy with the mode that the annotations of its object, at ``path``, ask for."""
    where = (*path, "metadata", "annotations")
    annotations = report.tree.value_at(where)
    if not isinstance(annotations, LocatedMapping):
        return policy
    asked = [mode for mode, name in ANNOTATIONS.items() if _is_set(report, where, annotations, name)]
    for name in annotations:
        if name.startswith(PREFIX) and name not in ANNOTATIONS.values():
            meant = closest(name.removeprefix(PREFIX), ANNOTATIONS)
            known = ", ".join(ANNOTATIONS.values())
            hint = f"did you mean {PREFIX}{meant}?" if meant else f"there are {known}"
            report.add((*where, name), f"unknown annotation {name!r}", hint)
    if len(asked) > 1:
        hint = "stage a policy before it is enforced, or audit it instead"
        report.add(where, "a policy is either staged or in audit", hint)
    if not asked:
        return policy
    return replace(policy, rules=tuple(replace(rule, mode=asked[0]) for rule in policy.rules))


def refuse_modes(report: Report, path: Path) -> None:
    """Report annotations that only mean something on policies, of another object at ``path``."""
    where = (*path, "metadata", "annotations")
    annotations = report.tree.value_at(where)
    for name in annotations if isinstance(annotations, LocatedMapping) else ():
        if name.startswith(PREFIX):
            report.add((*where, name), f"the annotation {name!r} is for policies", "remove it")


def _is_set(report: Report, where: Path, annotations: Mapping[str, Any], name: str) -> bool:
    value = annotations.get(name, "false")
    if value not in _VALUES:
        report.add((*where, name), f"{value!r} is neither true nor false", 'write "true", in quotes')
        return False
    return _VALUES[value]
