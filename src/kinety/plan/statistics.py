"""What an engine says about itself."""

from dataclasses import dataclass


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
