"""Verdicts, and the tables of them that the kernel holds."""

from dataclasses import dataclass, field
from enum import IntEnum

from kinety.model.identity import ClassId
from kinety.model.layer7 import NO_LAYER7, Layer7Id
from kinety.model.rule import DEFAULT_RULE, RuleId


class VerdictKind(IntEnum):
    """What happens to a flow. The numbers are the contract's."""

    DENY = 0
    ALLOW = 1
    REDIRECT = 2


@dataclass(frozen=True, slots=True, order=True)
class Verdict:
    """An outcome and the rule that decided it.

    Of a redirection, ``layer7`` is the content that may pass. Which listener sees to it the datapath is
    told; as long as there is none, it drops what is redirected.
    """

    kind: VerdictKind
    rule: RuleId = DEFAULT_RULE
    layer7: Layer7Id = NO_LAYER7


DEFAULT_DENY = Verdict(VerdictKind.DENY)


@dataclass(frozen=True, slots=True, order=True)
class RuleSetKey:
    """A row's key: a class, then ``bits`` leading bits (0-24) of protocol (8) and port (16).

    The longest matching row of a class decides. A class that a rule set names has a row of
    0 bits; any other class is looked up as class 0.
    """

    class_id: ClassId
    bits: int
    protocol: int = 0
    port: int = 0


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The complete verdict table of one direction."""

    rows: dict[RuleSetKey, Verdict] = field(default_factory=dict)
