"""However it came about, the plan is that of the facts; and on the way there is no third verdict."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinety.model.endpoint import EndpointId
from kinety.model.identity import ReservedIdentity
from kinety.model.layer7 import Layer7, Layer7Id
from kinety.model.rule import Action, Direction, Rule, RuleId
from kinety.model.verdict import Verdict
from kinety.plan.change import Capacity, CapacityError, Change
from kinety.plan.engine import Engine
from kinety.plan.fact import (
    CidrGroupUpserted,
    EndpointRemoved,
    EndpointUpserted,
    Fact,
    HostAddressesChanged,
    NamesLearnt,
    NodeLabelsChanged,
    PeerUpserted,
    PolicyRemoved,
    PolicyUpserted,
    ServiceUpserted,
)
from tests.unit.plan.generation import ADDRESSES, PORTS, batches
from tests.unit.plan.naive import Outcome, World, name
from tests.unit.plan.saying import cidr, endpoint, entity, has, policy, rule, tcp
from tests.unit.plan.tables import Tables
from tests.unit.plan.winner import content

Questions = list[tuple[EndpointId, Direction, bytes]]


def outcome(verdict: Verdict, rules: dict[RuleId, Rule], sets: Mapping[Layer7Id, Layer7]) -> Outcome:
    asked = content(sets[verdict.layer7]) if verdict.layer7 else None
    return verdict.kind, name(rules[verdict.rule]) if verdict.rule else "", asked


def questions(world: World) -> Questions:
    return list(itertools.product(world.endpoints, Direction, ADDRESSES))


def check(engine: Engine, tables: Tables, world: World) -> None:
    """Engine, simulated kernel and oracle answer alike, and the kernel holds exactly the snapshot."""
    assert engine.snapshot() == tables.snapshot()
    rules = dict(engine.rules)
    local = owners(world)
    for key, direction, address in questions(world):
        subject = world.endpoints[key]
        owner = world.owner(address)
        identity = engine.identity_of_address(address)
        assert identity == tables.identity(address, local)
        for protocol, port in PORTS:
            expected = world.judge(subject, direction, owner, protocol, port)
            told = engine.verdict(key, direction, identity, protocol, port)
            assert outcome(told, rules, engine.layer7_sets) == expected
            assert tables.judge(key, direction, identity, protocol, port) == told
            assert engine.verdict(subject.all_labels, direction, identity, protocol, port) == told
    if world.node is not None:
        check_host(engine, world)


def check_host(engine: Engine, world: World) -> None:
    """What policies about nodes say of this one."""
    for direction, address, (protocol, port) in itertools.product(Direction, ADDRESSES, PORTS[::3]):
        identity = engine.identity_of_address(address)
        told = engine.verdict(ReservedIdentity.HOST, direction, identity, protocol, port)
        expected = world.judge(
            world.host, direction, world.owner(address), protocol, port, allow_localhost=False
        )
        assert outcome(told, dict(engine.rules), engine.layer7_sets) == expected


def owners(world: World) -> dict[bytes, EndpointId]:
    return {
        address: key
        for key, each in world.endpoints.items()
        for address in (each.ipv4, each.ipv6)
        if address is not None
    }


def answers(tables: Tables, asked: Questions, local: dict[bytes, EndpointId]) -> dict[object, Outcome]:
    return {
        (key, direction, address, protocol, port): outcome(
            tables.judge(key, direction, tables.identity(address, local), protocol, port),
            tables.rules,
            tables.layer7_sets,
        )
        for key, direction, address in asked
        if key in tables.endpoints
        for protocol, port in PORTS[::2]
    }


def allowed(before: World, after: World, asked: Questions) -> dict[object, set[Outcome]]:
    """What each question may be answered while the one world becomes the other.

    Policy and addressing are separate: a subject's rules and the peer's identity each are old or new.
    """
    found: dict[object, set[Outcome]] = {}
    for key, direction, address in asked:
        subjects = [(world, world.endpoints[key]) for world in (before, after)]
        peers = [before.owner(address), after.owner(address)]
        for protocol, port in PORTS[::2]:
            found[key, direction, address, protocol, port] = {
                world.judge(subject, direction, peer, protocol, port)
                for world, subject in subjects
                for peer in peers
            }
    return found


def take(engine: Engine, tables: Tables, world: World, facts: Sequence[Fact]) -> Change:
    """Take one step and look at every moment of it."""
    before = world.copy()
    world.learn(facts)
    change = engine.change(facts)
    asked = [each for each in questions(world) if each[0] in before.endpoints]
    may = allowed(before, world, asked)
    local = owners(before) | owners(world)
    last = ""
    for step in tables.steps(change):
        if step != last or step == "endpoints":
            for question, answer in answers(tables, asked, local).items():
                assert answer in may[question], (step, question, answer, may[question])
        last = step
    return change


@settings(max_examples=60, deadline=None)
@given(batches)
def test_every_moment_is_old_or_new(steps: list[list[Fact]]) -> None:
    engine, tables, world = Engine(), Tables(), World()
    for facts in steps:
        take(engine, tables, world, facts)
        check(engine, tables, world)
    take(engine, tables, world, [])
    check(engine, tables, world)
    assert not engine.unsettled


def canonical(engine: Engine) -> object:
    """A plan without its numbers: tables by peers' labels, rules by name."""
    snapshot = engine.snapshot()
    names = {
        number: (rule.origin, rule.peers, rule.ports, rule.named_ports)
        for number, rule in snapshot.rules.items()
    }
    groups: dict[int, set[object]] = {}
    for identity, class_id in snapshot.identity_classes.items():
        groups.setdefault(class_id, set()).add(engine.identities[identity])
    shape = {class_id: frozenset(group) for class_id, group in groups.items()} | {0: frozenset()}
    tables = {
        key: {
            (shape[row.class_id], row.bits, row.protocol, row.port): (verdict.kind, names.get(verdict.rule))
            for row, verdict in table.rows.items()
        }
        for key, table in snapshot.rule_sets.items()
    }
    ipcache = {prefix: engine.identities[identity] for prefix, identity in snapshot.ipcache.items()}
    plans = {
        key: (*(engine.identities[each] for each in (plan.ipv4, plan.ipv6)), plan.egress, plan.ingress)
        for key, plan in snapshot.endpoints.items()
    }
    return sorted(map(str, names.values())), set(shape.values()), tables, ipcache, plans


@settings(max_examples=60, deadline=None)
@given(batches)
def test_the_way_does_not_matter(steps: list[list[Fact]]) -> None:
    stepwise, world = Engine(), World()
    for facts in steps:
        stepwise.change(facts)
        stepwise.change()
        world.learn(facts)
    squashed = Engine()
    squashed.change(fact for facts in steps for fact in facts)
    squashed.change()
    fresh = Engine()
    fresh.change(facts_of(world))
    assert canonical(stepwise) == canonical(squashed) == canonical(fresh)


def facts_of(world: World) -> list[Fact]:
    return [
        *(PolicyUpserted(each) for each in world.policies.values()),
        *(EndpointUpserted(each) for each in world.endpoints.values()),
        *(PeerUpserted(prefix, labels) for prefix, labels in world.peers.items()),
        *(CidrGroupUpserted(each) for each in world.groups.values()),
        *(ServiceUpserted(each) for each in world.services.values()),
        *(NamesLearnt(prefix, names) for prefix, names in world.names.items()),
        *([] if world.node is None else [NodeLabelsChanged(world.node)]),
        HostAddressesChanged(world.hosts),
    ]


@settings(max_examples=40, deadline=None)
@given(batches)
def test_a_restart_gives_the_same_numbers(steps: list[list[Fact]]) -> None:
    engine, world = Engine(), World()
    identities: dict[object, object] = {}
    rules: dict[object, object] = {}
    for facts in steps:
        for change in (engine.change(facts), engine.change()):
            identities |= dict(change.identities)
            identities |= dict(change.outside)
            rules |= dict(change.rule_names)
            for freed in change.identities_freed:
                identities.pop(freed, None)
            for gone in change.rules_removed:
                rules.pop(gone, None)
        world.learn(facts)
    again = Engine(
        identities={what: number for number, what in identities.items() if isinstance(what, frozenset)},
        outside={what: number for number, what in identities.items() if not isinstance(what, frozenset)},
        classes=dict(engine.identity_classes),
        rules={name: number for number, name in rules.items()},
    )
    again.change(facts_of(world))
    assert again.snapshot() == engine.snapshot()


CLASH = [
    EndpointUpserted(endpoint(200, app="z")),
    EndpointUpserted(replace(endpoint(200, app="a", tier="z"), id=EndpointId(201))),
]


@settings(max_examples=60, deadline=None)
@given(batches)
def test_a_refused_change_leaves_no_trace(steps: list[list[Fact]]) -> None:
    """Two endpoints with one address spoil the batch they are in."""
    engine, twin = Engine(), Engine()
    for facts in steps:
        with pytest.raises(ValueError, match="already"):
            engine.change([*facts, *CLASH])
        assert engine.snapshot() == twin.snapshot()
        assert engine.change(facts) == twin.change(facts)


@settings(max_examples=60, deadline=None)
@given(batches, st.sampled_from([field.name for field in fields(Capacity)]), st.integers(0, 4))
def test_what_does_not_fit_is_refused_whole(steps: list[list[Fact]], name: str, room: int) -> None:
    """With little room in one map, each batch is taken whole or leaves no trace.

    Two rows is the least an engine can have of every map: one rule is there from the start, the option
    that lets the node in, and in ``rule_counters`` row 0 is not for rules.
    """
    engine, tables, world = Engine(replace(Capacity(), **{name: room + 2})), Tables(), World()
    tables.apply(engine.change())
    for facts in steps:
        before = engine.snapshot()
        try:
            change = engine.change(facts)
        except CapacityError:
            assert engine.snapshot() == before == tables.snapshot()
        else:
            tables.apply(change)
            world.learn(facts)
            assert engine.snapshot() == tables.snapshot()
    check(engine, tables, world)


A = PolicyUpserted(
    policy("a", rule(has(app="a"), [has(tier="x"), cidr("8.8.0.0/16", "8.8.8.0/24")], [tcp(80)]))
)
B = PolicyUpserted(policy("b", rule(has(app="a"), [entity("cluster")], [tcp(80, 90)], action=Action.DENY)))
C = PolicyUpserted(policy("a", rule(has(), [has(app="b"), entity("world")], default_deny=False)))
ONE, TWO, THREE = (
    EndpointUpserted(endpoint(number, **pairs))
    for number, pairs in enumerate(({"app": "a"}, {"app": "b", "tier": "x"}, {"app": "a", "tier": "x"}), 1)
)
RELABELLED = EndpointUpserted(endpoint(1, app="b"))

#: Each state is all that holds; going to it removes what it does not have.
STATES: dict[str, list[EndpointUpserted | PolicyUpserted]] = {
    "nothing": [],
    "endpoints": [ONE, TWO, THREE],
    "a": [ONE, TWO, THREE, A],
    "a and b": [ONE, TWO, A, B],
    "c": [ONE, THREE, C],
    "relabelled": [RELABELLED, TWO, A, B],
    "policies only": [B, C],
}


def towards(state: Sequence[EndpointUpserted | PolicyUpserted], world: World) -> list[Fact]:
    keys = {each.policy.key for each in state if isinstance(each, PolicyUpserted)}
    numbers = {each.endpoint.id for each in state if isinstance(each, EndpointUpserted)}
    return [
        *(PolicyRemoved(key) for key in world.policies.keys() - keys),
        *(EndpointRemoved(number) for number in world.endpoints.keys() - numbers),
        *state,
    ]


@pytest.mark.parametrize("order", [*itertools.permutations(STATES, 3)], ids=" > ".join)
@pytest.mark.parametrize("between", ["steps", "empties", "nothing"])
def test_named_states_in_every_order(order: tuple[str, ...], between: str) -> None:
    engine, tables, world = Engine(), Tables(), World()
    for state in order:
        if between == "nothing":
            take(engine, tables, world, towards([], world))
        take(engine, tables, world, towards(STATES[state], world))
        if between == "empties":
            take(engine, tables, world, [])
    engine.change()
    fresh = Engine()
    fresh.change(facts_of(world))
    assert canonical(engine) == canonical(fresh)
