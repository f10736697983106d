"""What became of policies that were applied, deleted, or only tried."""

from collections.abc import Mapping
from dataclasses import dataclass

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
