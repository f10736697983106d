"""Which port each set of rules about content has, and that it is served before anything points at it.

A listener is such a set, whoever's it is. A step of the plan that brings new ones waits here until their
proxy serves them; one that takes some away waits for nothing: a listener goes when no flow is left that
was sent to it. Ports are in the store, so that rule sets say after a restart what they said before.

Runs on the worker thread; proxies live on the event loop.
"""

import logging
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from kinety.agent.proxy_port import PortTable
from kinety.api.errors import refuse
from kinety.model.layer7 import Layer7, Layer7Id
from kinety.proxy.error import ProxyError
from kinety.proxy.listener import Listener

log = logging.getLogger(__name__)

#: Does what a coroutine says, and returns when it is done.
Call = Callable[[Coroutine[Any, Any, None]], None]


class Proxy(Protocol):
    """A kind of proxy, on the event loop."""

    async def put(self, listeners: Mapping[Layer7Id, Listener]) -> None:
        """Add listeners, or change them; returns when they are served. Raises ProxyError; then none is."""

    async def remove(self, ids: Collection[Layer7Id]) -> None:
        """End listeners."""

    async def restore(self, listeners: Mapping[Layer7Id, Listener]) -> None:
        """Serve these and no others, as soon as can be."""


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
    ) -> None:
        """``ports`` are to be given; ``proxies`` by kind of content, those that this node has.

        ``call`` has the event loop do something for this thread.
        """
        self._table = table
        self._range = ports
        self._proxies = proxies
        self._call = call
        self._ports: dict[Layer7Id, int] = {}
        self._contents: dict[Layer7Id, Layer7] = {}

    @property
    def ports(self) -> Mapping[Layer7Id, int]:
        """The port of every listener, those on their way out included; a live view."""
        return self._ports

    def restore(self, live: Mapping[Layer7Id, Layer7]) -> None:
        """Serve what the plan redirects to, by the ports of a former run; waits for nothing.

        What is not served (yet) is dropped. Listeners of a former run that nothing points at end.
        """
        self._ports = self._table.all()
        self._contents = dict(live)
        self._forget(self._ports.keys() - live.keys())
        self._give(live)
        for proxy in {id(each): each for each in self._proxies.values()}.values():
            mine = [key for key, layer7 in live.items() if self._proxies.get(_kind(layer7)) is proxy]
            self._call(proxy.restore(self._listeners(mine)))
        for layer7 in live.values():
            if _kind(layer7) not in self._proxies:
                log.error("%s; what they are about is dropped", _missing(layer7))

    def serve(self, wanted: Mapping[Layer7Id, Layer7]) -> None:
        """Return when these are served. Raises ApiError when they cannot be, and nothing is in force then."""
        new = {key: layer7 for key, layer7 in wanted.items() if key not in self._contents}
        if not new:
            return
        by_proxy: dict[str, list[Layer7Id]] = {}
        for key, layer7 in new.items():
            if _kind(layer7) not in self._proxies:
                raise refuse(503, f"{_missing(layer7)}; nothing was applied")
            by_proxy.setdefault(_kind(layer7), []).append(key)
        self._give(new)
        self._contents.update(new)
        try:
            for kind, keys in by_proxy.items():
                self._call(self._proxies[kind].put(self._listeners(keys)))
        except ProxyError as error:
            self._end(new)
            raise refuse(503, f"{error}; nothing was applied") from error
        except BaseException:
            self._end(new)
            raise

    def retired(self, live: Collection[Layer7Id]) -> frozenset[Layer7Id]:
        """Listeners that no rule set points at, given those that one does."""
        return frozenset(self._contents.keys() - live)

    def collect(
        self, live: Collection[Layer7Id], in_use: Callable[[], Collection[int]]
    ) -> frozenset[Layer7Id]:
        """End listeners that no rule set points at and no flow goes through; returns them.

        ``in_use`` tells the ports that flows were sent to. Raises ProxyError.
        """
        retired = self.retired(live)
        if not retired:
            return retired
        busy = in_use()
        gone = frozenset(key for key in retired if self._ports[key] not in busy)
        self._end(gone)
        return gone

    def served(self, live: Collection[Layer7Id]) -> Iterator[tuple[Layer7Id, Served]]:
        """Every listener, given what rule sets point at."""
        for key, layer7 in self._contents.items():
            yield key, Served(layer7, self._ports[key], key in live)

    def _listeners(self, keys: Collection[Layer7Id]) -> dict[Layer7Id, Listener]:
        return {key: Listener(self._ports[key], self._contents[key]) for key in keys}

    def _give(self, keys: Collection[Layer7Id]) -> None:
        """A port for each that has none."""
        taken = set(self._ports.values())
        free = (port for port in self._range if port not in taken)
        for key in keys:
            if key not in self._ports:
                port = next(free, None)
                if port is None:
                    raise refuse(
                        507,
                        f"rules about content would need more than the {len(self._range)} ports of "
                        f"{self._range.start}-{self._range.stop - 1}; nothing was applied",
                    )
                self._ports[key] = port
        self._table.put((key, self._ports[key]) for key in keys)

    def _end(self, keys: Collection[Layer7Id]) -> None:
        for kind, proxy in self._proxies.items():
            mine = [key for key in keys if _kind(self._contents[key]) == kind]
            if mine:
                self._call(proxy.remove(mine))
        self._forget(keys)

    def _forget(self, keys: Collection[Layer7Id]) -> None:
        self._table.delete(keys)
        for key in tuple(keys):
            self._contents.pop(key, None)
            self._ports.pop(key, None)


def _kind(layer7: Layer7) -> str:
    """The kind of content; a set that lets nothing through is any."""
    return min(layer7.kinds, default="http")


def _missing(layer7: Layer7) -> str:
    who = " and ".join(layer7.policies)
    if layer7.dns:
        return f"{who} has DNS rules, and this node has no DNS proxy (kinety[layer7] is not installed)"
    return f"{who} has rules about content, and this node has no Envoy: start the agent with --envoy PATH"
