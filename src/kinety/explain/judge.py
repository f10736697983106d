"""What the one's rules say of the other, for any two identities."""

from pyroaring import BitMap

from kinety.explain.pattern import OPEN, Pattern, pattern_of
from kinety.identity.registry import Registry
from kinety.model.identity import FIRST_CLUSTER_IDENTITY, LAST_CLUSTER_IDENTITY, Identity
from kinety.model.rule import Direction
from kinety.model.selector import LabelSelector, PeerSelector
from kinety.plan.engine import Engine
from kinety.plan.lookup import template_afresh, template_for
from kinety.plan.rule_book import Numbered


def pattern_between(engine: Engine, subject: Identity, direction: Direction, peer: Identity) -> Pattern:
    """A workload's verdicts about a peer. Whoever is no workload has no rules, and is open.

    Of an endpoint of this node these are the kernel's own rows; of others, what they would be.
    """
    found = engine.subjects.get(subject)
    if found is None:
        rules = rules_about(engine, subject, direction)
        return pattern_of(template_afresh(rules, engine.registry, peer).rows) if rules else OPEN
    table = found.tables[direction]
    return OPEN if table is None else pattern_of(template_for(table, engine.registry.classes.of(peer)).rows)


def rules_about(engine: Engine, subject: Identity, direction: Direction) -> Numbered:
    """The rules that select a workload, in deciding order."""
    found = engine.subjects.get(subject)
    if found is not None:
        table = found.tables[direction]
        return () if table is None else table.rules
    return engine.rules_of(engine.registry[subject], direction) if is_workload(subject) else ()


def is_workload(identity: Identity) -> bool:
    """Whether an identity is a label set's: an endpoint's of this node or of another."""
    return FIRST_CLUSTER_IDENTITY <= identity <= LAST_CLUSTER_IDENTITY


def everybody_in(registry: Registry, selector: PeerSelector) -> BitMap:
    """Identities that a selector selects, whether a rule has it or not."""
    if isinstance(selector, LabelSelector):
        return registry.carriers(selector)
    return BitMap(each for each in registry if registry.selects(selector, each))
