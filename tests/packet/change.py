"""Steps of a case that change the node until the case ends, and one that looks."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from socket import IPPROTO_TCP

from kinety import abi
from kinety.model.address import Prefix
from kinety.model.identity import Identity
from kinety.model.verdict import RuleSet
from kinety.plan.change import Change, EndpointPlan, RuleSetId
from tests.netns.datapath_node import table
from tests.packet.node import ALLOWS, EMPIRE_CLASS, PLANS, WEB, allow, where
from tests.packet.table import World

Do = Callable[[World], None]


def publish(number: int, wanted: EndpointPlan, tables: Mapping[RuleSetId, RuleSet] | None = None) -> Do:
    """Flip an endpoint to other rule sets until the case ends."""

    def change(world: World) -> None:
        world.undo.append(
            lambda: world.node.put({number: PLANS[number]}, rule_sets_removed=frozenset(tables or {}))
        )
        world.node.put({number: wanted}, rule_sets=tables or {})

    return change


def ipcache(prefix: str, identity: Identity) -> Do:
    """Somebody else is behind an address, until the case ends."""

    def change(world: World) -> None:
        removed = frozenset({Prefix.parse(prefix)})
        world.undo.append(lambda: world.node.apply(Change(ipcache_removed=removed)))
        world.node.apply(Change(ipcache={Prefix.parse(prefix): identity}))

    return change


def forget(prefix: str) -> Do:
    """Nobody is known behind an address any more."""
    return lambda world: world.node.apply(Change(ipcache_removed=frozenset({Prefix.parse(prefix)})))


def without_row(world: World) -> None:
    """The guard's row for the allowed port goes away, until the case ends."""
    [(key, verdict)] = table({(EMPIRE_CLASS, 24, IPPROTO_TCP, WEB): allow(ALLOWS)}).rows.items()
    guard = RuleSetId("guard")
    world.undo.append(lambda: world.node.apply(Change(rows={guard: {key: verdict}})))
    world.node.apply(Change(rows_removed={guard: frozenset({key})}))


def no_flow(world: World) -> None:
    """Conntrack is empty."""
    assert not world.flows()


def before_any_ipcache(world: World) -> None:
    """The generation is what it was in a map that nobody has written yet, until the case ends."""
    state, row = world.map("node_state"), bytes(4)
    was = abi.NodeState.unpack(state.lookup(row) or b"")
    world.undo.append(lambda: state.update(row, was.pack()))
    state.update(row, replace(was, ipcache_generation=0).pack())


def gone(name: str, family: int) -> Do:
    """An endpoint's address is nobody's on this node, until the case ends."""

    def change(world: World) -> None:
        addresses, key = world.map("local_addresses"), where(name, family)
        value = addresses.lookup(key)
        assert value is not None
        world.undo.append(lambda: addresses.update(key, value))
        addresses.delete(key)

    return change
