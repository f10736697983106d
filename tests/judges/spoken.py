"""Random documents of what the plan knows by now."""

import json
import random
from typing import Any

from kinety.model.label import NODE, RESERVED
from kinety.model.rule import Rule
from kinety.model.selector import BlockSelector, FqdnSelector, LabelSelector
from kinety.policy.document import Document
from kinety.policy.parse import parse_policies
from tests.judges import language


def document(rng: random.Random, number: int) -> dict[str, Any]:
    made = language.document(rng, number)
    while not _is_known(made):
        made = language.document(rng, number)
    return made


def edited(rng: random.Random, former: dict[str, Any]) -> dict[str, Any]:
    made = language.edited(rng, former)
    while not _is_known(made):
        made = language.edited(rng, former)
    return made


def _is_known(made: dict[str, Any]) -> bool:
    (policy,) = parse_policies([Document("x.json", json.dumps(made))])
    return not any(map(_is_beyond, policy.rules))


def _is_beyond(rule: Rule) -> bool:
    return (
        bool(rule.references or rule.named_ports)
        or any(isinstance(each, BlockSelector | FqdnSelector) for each in rule.peers or ())
        or any(
            requirement.source == NODE
            for each in rule.peers or ()
            if isinstance(each, LabelSelector)
            for requirement in each.requirements
        )
        or any(requirement.source == RESERVED for requirement in rule.subject.requirements)
    )
