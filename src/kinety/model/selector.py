"""Selectors: predicates over labels or addresses. They say who; rules say what."""

from dataclasses import dataclass
from enum import StrEnum

from kinety.model.address import Prefix
from kinety.model.label import ANY_SOURCE, Labels


class Operator(StrEnum):
    """The four operators of a Kubernetes label selector."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True, order=True)
class Requirement:
    """One condition on one key. ``values`` is sorted, and empty for Exists and DoesNotExist.

    Source ``any`` looks at the key whoever vouches for it. NotIn and DoesNotExist also hold
    where the key is absent.
    """

    source: str
    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Whether the condition holds for a set of labels."""
        present = [
            label.value
            for label in labels
            if label.key == self.key and self.source in (ANY_SOURCE, label.source)
        ]
        match self.operator:
            case Operator.EXISTS:
                return bool(present)
            case Operator.DOES_NOT_EXIST:
                return not present
            case Operator.IN:
                return any(value in self.values for value in present)
            case Operator.NOT_IN:
                return not any(value in self.values for value in present)


@dataclass(frozen=True, slots=True, order=True)
class LabelSelector:
    """All requirements must hold. Without any it selects every set of labels."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Whether every requirement holds for a set of labels."""
        return all(requirement.matches(labels) for requirement in self.requirements)


@dataclass(frozen=True, slots=True, order=True)
class CidrSelector:
    """Addresses in ``prefix`` and in none of ``except_``. Never selects a managed endpoint or node."""

    prefix: Prefix
    except_: tuple[Prefix, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class EntitySelector:
    """One of the entities of the policy language other than ``all`` (which is a wildcard)."""

    entity: str


PeerSelector = LabelSelector | CidrSelector | EntitySelector
