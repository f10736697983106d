"""The one sequence of a change: facts, plan, store, kernel; and the way back when it fails.

Runs on the worker thread, one call at a time. A change is made in this order::

    engine.step(facts)        refuses what would overflow a map; nothing has been written then
    store                     inside a transaction
    proxies                   serve what the plan is about to send flows to, and watch names
    datapath.apply(change)    in force for the next packet when it returns
    commit

When one of them refuses, the transaction and the engine's step are rolled back, proxies serve what they
did before, and the kernel is made to hold the engine's whole plan again. If even that fails, it is tried
again with growing pauses (``repair``), and changes are refused until it worked.
"""

from collections.abc import Callable, Sequence

from kinety.agent.directory import Directory
from kinety.agent.proxies.proxies import Proxies
from kinety.agent.repair import Repair
from kinety.agent.store import Store
from kinety.datapath.datapath import Datapath
from kinety.plan.change import Change
from kinety.plan.engine import Engine
from kinety.plan.fact import Fact


class Steps:
    """Takes steps, and counts them."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        datapath: Datapath,
        directory: Directory,
        proxies: Proxies,
        repair: Repair,
    ) -> None:
        self._engine = engine
        self._store = store
        self._datapath = datapath
        self._directory = directory
        self._proxies = proxies
        self._repair = repair
        #: How often the plan has changed.
        self.count = 0
        #: Whether the step that is going on has begun to change the kernel.
        self._half_way = False

    def take(self, facts: Sequence[Fact], realise: Callable[[Change], None]) -> Change:
        """Take a step; ``realise`` writes what else belongs to it, and calls ``apply``.

        Raises what the parts raise; then nothing has changed.
        """
        self._repair.require()
        self._half_way = False
        try:
            with self._engine.step(facts) as change, self._store.transaction():
                self._store.write_numbers(change)
                realise(change)
        except BaseException as error:
            if self._half_way:
                self._repair.after(error)
            raise
        return self.taken(change)

    def apply(self, change: Change) -> None:
        """Put a step in force, while it is taken."""
        self._proxies.watch(change)
        with self._proxies.serving(change):
            self._half_way = True
            self._datapath.apply(change, self._proxies.ports)

    def taken(self, change: Change) -> Change:
        """The plan has changed."""
        self.count += 1
        self._directory.change_rules(change.rules, change.rules_removed)
        self._proxies.settle(change)
        return change
