"""What an engine is told at its start, and what it says about itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kinety.identity.registry import IdentityHints
from kinety.model.rule import RuleId


@dataclass(frozen=True, slots=True)
class Options:
    """What a node's operator decides. ``allow_localhost``: the node may reach its own endpoints."""

    allow_localhost: bool = True


@dataclass(frozen=True, slots=True)
class Hints:
    """Numbers of a former run, kept where they fit. ``rules`` is by rule name."""

    identity: IdentityHints = field(default_factory=IdentityHints)
    rules: Mapping[str, RuleId] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """How much the engine holds. ``classes`` does not count class 0."""

    endpoints: int
    subjects: int
    policies: int
    rules: int
    selectors: int
    identities: int
    classes: int
    rule_sets: int
    rows: int
    ipcache: int


DEFAULT_OPTIONS = Options()
NO_HINTS = Hints()
