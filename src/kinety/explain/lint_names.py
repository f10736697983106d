"""What is odd about rules that name peers by DNS: names that lead inside, and names that nobody hears of."""

from collections.abc import Iterator

from kinety.identity.prefix_index import IPV4_WORLD, IPV6_WORLD
from kinety.model.layer7 import NamePattern
from kinety.model.rule import Direction, Origin, Rule
from kinety.model.selector import FqdnSelector
from kinety.plan.engine import Engine
from kinety.plan.table import Table


def leading_inside(engine: Engine) -> Iterator[tuple[Origin, str]]:
    """Rules with a name of the node, an endpoint or a workload elsewhere, whom no name selects; and why."""
    inside = [
        (str(address).partition("/")[0], engine.registry.names(address))
        for world in (IPV4_WORLD, IPV6_WORLD)
        for address, who in engine.registry.named(world)
        if engine.identity_of_address(address.packed) != who
    ]
    for rule in _rules(engine):
        for address, names in inside:
            if named := sorted(name for name in names if _asks(rule, name)):
                yield rule.origin, f"{named[0]} is {address}, which is inside, where a name selects nobody"


def unheard(engine: Engine) -> Iterator[tuple[Origin, str]]:
    """Rules by name of endpoints whose questions no proxy sees: no address is ever learnt; and why."""
    for subject in engine.subjects.values():
        table = subject.tables[Direction.EGRESS]
        if table is None or not subject.endpoints or _hears(table):
            continue
        whose = str(engine.endpoints[min(subject.endpoints)])
        for each in table.rules:
            if _patterns(each.rule):
                yield (
                    each.rule.origin,
                    f"nothing hears what {whose} asks name servers: no name has addresses",
                )


def _hears(table: Table) -> bool:
    return any(each.rule.layer7 is not None and each.rule.layer7.dns for each in table.rules)


def _rules(engine: Engine) -> Iterator[Rule]:
    return (rule for policy in engine.policies.values() for rule in policy.rules if _patterns(rule))


def _patterns(rule: Rule) -> list[NamePattern]:
    return [each.pattern for each in rule.peers or () if isinstance(each, FqdnSelector)]


def _asks(rule: Rule, name: str) -> bool:
    return any(pattern.matches(name) for pattern in _patterns(rule))
