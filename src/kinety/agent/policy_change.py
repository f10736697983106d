"""What became of policies that were applied, deleted, or only tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kinety.agent.declaration import Declaration, ParsedFile
from kinety.api.errors import refuse
from kinety.model.rule import PolicyKey


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """What an apply did: the outcome of each object, and how many endpoints got other rule sets.

    ``warnings`` say what of the node's own traffic it cuts.
    """

    outcomes: Mapping[PolicyKey, str]
    endpoints: int
    warnings: tuple[str, ...] = ()


class Rehearsed(Exception):
    """Ends a step that was only tried; ``endpoints`` would have got other rule sets."""

    def __init__(self, endpoints: int) -> None:
        super().__init__(endpoints)
        self.endpoints = endpoints


def outcomes_of(files: Sequence[ParsedFile], known: Mapping[PolicyKey, Declaration]) -> dict[PolicyKey, str]:
    """What applying would do to each object. Raises ApiError when one is given twice."""
    outcomes: dict[PolicyKey, str] = {}
    for file in files:
        for key, declaration in file.declarations.items():
            if key in outcomes:
                raise refuse(400, f"{key} is given more than once", file=file.file)
            former = known.get(key)
            same = "unchanged" if former is not None and former.what == declaration.what else "updated"
            outcomes[key] = "created" if former is None else same
    return outcomes
