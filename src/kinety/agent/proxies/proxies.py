"""Which port each set of rules about content has, and that it is served before anything points at it.

A listener is such a set, whoever's it is. A step of the plan that brings new ones waits here until their
proxy serves them; one that takes some away waits for nothing: a listener goes when no flow is left that
was sent to it, and no step waits for its end. Where an edit changes what the same rules ask for, the
listener stays and changes, and with it what open flows may do from the next request on. Ports are in the
store, so that rule sets say after a restart what they said before.

Runs on the worker thread, but for `Proxies.end`; proxies live on the event loop.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from kinety.agent.proxies.port import PortTable, is_vacant
from kinety.api.errors import refuse
from kinety.model.layer7 import Layer7, Layer7Id, NamePattern
from kinety.model.rule import Rule, RuleId
from kinety.model.selector import FqdnSelector
from kinety.model.verdict import RuleSetKey, Verdict
from kinety.plan.change import Change, Snapshot
from kinety.proxy.error import ProxyError
from kinety.proxy.listener import Listener, ProxyState

log = logging.getLogger(__name__)

#: Does what a coroutine says, and returns when it is done.
Call = Callable[[Coroutine[Any, Any, None]], None]


class Proxy(Protocol):
    """A kind of proxy, on the event loop."""

    name: str

    async def put(self, listeners: Collection[Listener]) -> None:
        """Add listeners, or change those of the same ports; returns when they are served.

        Raises ProxyError; then all is as it was.
        """

    async def remove(self, ports: Collection[int]) -> None:
        """End the listeners of these ports. Raises ProxyError."""

    async def restore(self, listeners: Collection[Listener], watched: frozenset[NamePattern]) -> None:
        """Serve these and no others, and watch names, as soon as can be."""

    async def watch(self, patterns: frozenset[NamePattern]) -> None:
        """Tell the agent addresses of names of these patterns before a client. Raises ProxyError."""

    async def state(self) -> ProxyState:
        """Itself at a glance."""


@dataclass(frozen=True, slots=True)
class Served:
    """A listener: its content, its port, and whether rule sets point at it still."""

    layer7: Layer7
    port: int
    live: bool


class Proxies:
    """Listeners of every kind of content."""

    def __init__(
        self,
        table: PortTable,
        ports: range,
        proxies: Mapping[str, Proxy],
        call: Call,
        problem: str = "",
        vacant: Callable[[int], bool] = is_vacant,
    ) -> None:
        """``ports`` are to be given; ``proxies`` by kind of content, those that this node has.

        ``call`` has the event loop do something for this thread. ``problem`` is why nothing gets to any.
        ``vacant`` tells of a port whether nobody else has it.
        """
        self._table = table
        self._range = ports
        self._proxies = proxies
        self._call = call
        self._problem = problem
        self._vacant = vacant
        self._ports: dict[Layer7Id, int] = {}
        self._contents: dict[Layer7Id, Layer7] = {}
        #: What is to be ended, by its port, which nobody else gets until then. Replaced, never changed.
        self._ending: Mapping[int, tuple[Layer7Id, Layer7]] = {}
        #: Names by which rules know their peers.
        self._named: dict[RuleId, frozenset[NamePattern]] = {}
        #: The rules that send flows to each.
        self._rules: dict[Layer7Id, frozenset[RuleId]] = {}

    @property
    def kinds(self) -> tuple[Proxy, ...]:
        """Every proxy once."""
        return tuple(dict.fromkeys(self._proxies.values()))

    @property
    def ports(self) -> Mapping[Layer7Id, int]:
        """The port of every listener, those on their way out included; a live view."""
        return self._ports

    def restore(self, snapshot: Snapshot) -> None:
        """Serve what the plan redirects to, by the ports of a former run; waits for nothing.

        What is not served (yet) is dropped. Listeners of a former run that nothing points at end.
        """
        live = snapshot.layer7_sets
        self._ports = self._table.all()
        self._contents = dict(live)
        self._rules = rules_by_content(each.rows for each in snapshot.rule_sets.values())
        self._named = {number: names for number, rule in snapshot.rules.items() if (names := _names_of(rule))}
        self._forget(self._ports.keys() - live.keys())
        self._give(live)
        for proxy in self.kinds:
            mine = [key for key, layer7 in live.items() if self._proxies.get(_kind(layer7)) is proxy]
            self._call(proxy.restore(self._listeners(mine), self._watched))
        for layer7 in live.values():
            if _kind(layer7) not in self._proxies:
                log.error("%s; what they are about is dropped", self._missing(layer7))

    @property
    def _watched(self) -> frozenset[NamePattern]:
        """Names of which some rule wants to know the addresses."""
        return frozenset(name for names in self._named.values() for name in names)

    def watch(self, change: Change) -> None:
        """Have answers for the names of a change told before clients get them. Raises ApiError."""
        new = {number: names for number, rule in change.rules.items() if (names := _names_of(rule))}
        if not new:
            return
        before = self._watched
        self._named.update(new)
        if (proxy := self._proxies.get("dns")) and not self._watched <= before:
            try:
                self._call(proxy.watch(self._watched))
            except ProxyError as error:
                raise refuse(503, f"{error}; nothing was applied") from error

    def settle(self, change: Change) -> None:
        """A change is in force. What no rule names any more is watched until the next one does."""
        for number in change.rules_removed:
            self._named.pop(number, None)

    @contextmanager
    def serving(self, change: Change) -> Iterator[None]:
        """What a change redirects to is served when the block begins; when it raises, all is as it was.

        Raises ApiError when a listener cannot be served, before the block.
        """
        new = {key: layer7 for key, layer7 in change.layer7_sets.items() if key not in self._contents}
        if not new:
            yield
            return
        for layer7 in new.values():
            if _kind(layer7) not in self._proxies:
                raise refuse(503, f"{self._missing(layer7)}; nothing was applied")
        before = dict(self._ports), dict(self._contents), dict(self._rules)
        rules = rules_by_content([*(each.rows for each in change.rule_sets.values()), *change.rows.values()])
        heirs = self._heirs(new, rules, change.layer7_sets_removed)
        try:
            for heir, former in heirs.items():
                self._ports[heir] = self._ports.pop(former)
                del self._contents[former]
            self._give(new)
            self._contents.update(new)
            self._rules.update({key: rules.get(key, frozenset()) for key in new})
            self._put(new)
            yield
        except BaseException as error:
            made = {key: self._ports[key] for key in new if key in self._ports and key not in heirs}
            self._ports, self._contents, self._rules = before
            # A proxy that does not do this either serves what it did before.
            with contextlib.suppress(ProxyError):
                self._put({former: self._contents[former] for former in heirs.values()})
                self._remove((new[key], port) for key, port in made.items())
            if isinstance(error, ProxyError):
                raise refuse(503, f"{error}; nothing was applied") from error
            raise

    def _heirs(
        self,
        new: Mapping[Layer7Id, Layer7],
        rules: Mapping[Layer7Id, frozenset[RuleId]],
        removed: Collection[Layer7Id],
    ) -> dict[Layer7Id, Layer7Id]:
        """New content that takes the place of some that goes: the very same rules ask for it.

        It gets the other's port, so that flows that are open stay where they are, under other rules from the
        next request on. Else they would have to be reset, and come back by another port.
        """
        former = {
            (_kind(self._contents[key]), self._rules.get(key)): key
            for key in removed
            if key in self._contents
        }
        found: dict[Layer7Id, Layer7Id] = {}
        for key, layer7 in new.items():
            old = former.pop((_kind(layer7), rules.get(key)), None)
            if old is not None and rules.get(key):
                found[key] = old
        return found

    def leaving(self, live: Collection[Layer7Id]) -> bool:
        """Whether there are listeners that no rule set points at, given those that one does."""
        return bool(self._ending or self._contents.keys() - live)

    def retire(self, live: Collection[Layer7Id], in_use: Callable[[], Collection[int]]) -> bool:
        """Take leave of listeners that no rule set points at and no flow goes through.

        ``in_use`` tells the ports that flows were sent to. Whether `end` has some to end.
        """
        if retired := self._contents.keys() - live:
            busy = in_use()
            gone = {
                self._ports[key]: (key, self._contents[key])
                for key in retired
                if self._ports[key] not in busy
            }
            self._forget([key for key, _ in gone.values()])
            self._ending = {**self._ending, **gone}
        return bool(self._ending)

    async def end(self) -> None:
        """End listeners that were retired. On the event loop; the worker may go on, but `retire` no more.

        Raises ProxyError; what was not ended then is when this is called again.
        """
        contents = [(layer7, port) for port, (_, layer7) in self._ending.items()]
        for proxy, ports in self._by_proxy(contents).items():
            await proxy.remove(ports)
            self._ending = {port: each for port, each in self._ending.items() if port not in ports}

    def askers(self, port: int) -> tuple[tuple[str, ...], frozenset[RuleId]]:
        """The policies that ask for a listener, and rules that send flows to it; none of one that is gone.

        May be called on any thread.
        """
        for key, its_port in tuple(self._ports.items()):
            if its_port == port and (layer7 := self._contents.get(key)):
                return layer7.policies, self._rules.get(key, frozenset())
        return (), frozenset()

    def served(self, live: Collection[Layer7Id]) -> Iterator[tuple[Layer7Id, Served]]:
        """Every listener, given what rule sets point at."""
        for key, layer7 in self._contents.items():
            yield key, Served(layer7, self._ports[key], key in live)
        for port, (key, layer7) in self._ending.items():
            yield key, Served(layer7, port, live=False)

    def _missing(self, layer7: Layer7) -> str:
        who = " and ".join(layer7.policies)
        if self._problem:
            return f"{who} has rules about content, and nothing gets to a proxy here ({self._problem})"
        if layer7.dns:
            return f"{who} has DNS rules, and this node has no DNS proxy (kinety[layer7] is not installed)"
        return f"{who} has rules about content, and this node has no Envoy: start the agent with --envoy PATH"

    def _listeners(self, keys: Collection[Layer7Id]) -> list[Listener]:
        return [Listener(self._ports[key], self._contents[key]) for key in keys]

    def _give(self, keys: Collection[Layer7Id]) -> None:
        """A port for each that has none."""
        taken = {*self._ports.values(), *self._ending}
        free = (port for port in self._range if port not in taken and self._vacant(port))
        for key in keys:
            if key not in self._ports:
                port = next(free, None)
                if port is None:
                    raise refuse(
                        507,
                        f"rules about content would need more than the {len(self._range)} ports of "
                        f"{self._range.start}-{self._range.stop - 1}, of which others may have some; "
                        "nothing was applied: start the agent with other --proxy-ports",
                    )
                self._ports[key] = port
        self._table.put((key, self._ports[key]) for key in keys)

    def _put(self, contents: Mapping[Layer7Id, Layer7]) -> None:
        by_proxy: dict[Proxy, list[Layer7Id]] = {}
        for key, layer7 in contents.items():
            by_proxy.setdefault(self._proxies[_kind(layer7)], []).append(key)
        for proxy, keys in by_proxy.items():
            self._call(proxy.put(self._listeners(keys)))

    def _remove(self, ports: Iterable[tuple[Layer7, int]]) -> None:
        for proxy, mine in self._by_proxy(ports).items():
            self._call(proxy.remove(mine))

    def _by_proxy(self, ports: Iterable[tuple[Layer7, int]]) -> dict[Proxy, list[int]]:
        found: dict[Proxy, list[int]] = {}
        for layer7, port in ports:
            if proxy := self._proxies.get(_kind(layer7)):
                found.setdefault(proxy, []).append(port)
        return found

    def _forget(self, keys: Collection[Layer7Id]) -> None:
        self._table.delete(keys)
        for key in tuple(keys):
            self._contents.pop(key, None)
            self._rules.pop(key, None)
            self._ports.pop(key, None)


def _names_of(rule: Rule) -> frozenset[NamePattern]:
    """Patterns of names by which a rule knows its peers."""
    return frozenset(each.pattern for each in rule.peers or () if isinstance(each, FqdnSelector))


def rules_by_content(tables: Iterable[Mapping[RuleSetKey, Verdict]]) -> dict[Layer7Id, frozenset[RuleId]]:
    """Which rules send flows to each set of rules about content."""
    found: dict[Layer7Id, set[RuleId]] = {}
    for rows in tables:
        for verdict in rows.values():
            if verdict.layer7:
                found.setdefault(verdict.layer7, set()).add(verdict.rule)
    return {key: frozenset(rules) for key, rules in found.items()}


def _kind(layer7: Layer7) -> str:
    """The kind of content; a set that lets nothing through is any."""
    return min(layer7.kinds, default="http")
