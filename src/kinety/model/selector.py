"""Selectors: predicates over labels or addresses. They say who; rules say what."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from kinety.model.address import Prefix
from kinety.model.label import ANY_SOURCE, BLOCK, HIDDEN_SOURCES, Label, Labels
from kinety.model.layer7 import NamePattern


class Operator(StrEnum):
    """The four operators of a Kubernetes label selector."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class Requirement(NamedTuple):
    """One condition on one key. ``values`` is sorted, and empty for Exists and DoesNotExist.

    Source ``any`` looks at the key whoever vouches for it, Kinety's own sources aside. NotIn and
    DoesNotExist also hold where the key is absent. A tuple for the reason that a label is one.
    """

    source: str
    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Whether the condition holds for a set of labels."""
        source, key, operator, values = self
        wanted = operator is Operator.IN or operator is Operator.EXISTS
        whatever = operator is Operator.EXISTS or operator is Operator.DOES_NOT_EXIST
        for voucher, name, value in labels:
            if (
                name == key
                and (whatever or value in values)
                and (source == voucher or (source == ANY_SOURCE and voucher not in HIDDEN_SOURCES))
            ):
                return wanted
        return not wanted


@dataclass(frozen=True, slots=True, order=True)
class LabelSelector:
    """All requirements must hold. Without any it selects every set of labels."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Whether every requirement holds for a set of labels."""
        for requirement in self.requirements:  # noqa: SIM110 - a generator costs more than the question
            if not requirement.matches(labels):
                return False
        return True


@dataclass(frozen=True, slots=True, order=True)
class CidrSelector:
    """Addresses in ``prefix`` and in none of ``except_``. Never selects a managed endpoint or node."""

    prefix: Prefix
    except_: tuple[Prefix, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class BlockSelector:
    """Addresses in ``prefix`` and in none of ``except_``: outside, and those of managed endpoints.

    With ``among``, only of the endpoints that it selects. The node's own addresses are in no block.
    """

    prefix: Prefix
    except_: tuple[Prefix, ...] = ()
    among: LabelSelector | None = None

    @property
    def label(self) -> Label:
        """What endpoints with an address in the block are told by, while the block is live."""
        holes = "".join(f" except {hole}" for hole in self.except_)
        return Label(BLOCK, f"{self.prefix}{holes}")


@dataclass(frozen=True, slots=True, order=True)
class FqdnSelector:
    """Addresses outside that a DNS answer gave for a name of this pattern."""

    pattern: NamePattern


@dataclass(frozen=True, slots=True, order=True)
class EntitySelector:
    """One of the entities of the policy language other than ``all`` (which is a wildcard)."""

    entity: str


PeerSelector = LabelSelector | CidrSelector | BlockSelector | FqdnSelector | EntitySelector
