"""A proxy of values: holds what it is told, and refuses when it is told to."""

from collections.abc import Collection

from kinety.model.layer7 import NamePattern
from kinety.proxy.error import ProxyError
from kinety.proxy.listener import Listener, ProxyState, Traffic


class FakeProxy:
    """``kinety.agent.proxies.proxies.Proxy``; its listeners are by port."""

    name = "envoy"

    def __init__(self) -> None:
        self.held: dict[int, Listener] = {}
        self.failing = False
        self.calls = 0
        self.watched: frozenset[NamePattern] = frozenset()

    async def put(self, listeners: Collection[Listener]) -> None:
        self.calls += 1
        if self.failing:
            raise ProxyError("Envoy refuses the listener")
        self.held.update({each.port: each for each in listeners})

    async def remove(self, ports: Collection[int]) -> None:
        self.calls += 1
        if self.failing:
            raise ProxyError("Envoy is not there")
        for each in ports:
            self.held.pop(each, None)

    async def restore(self, listeners: Collection[Listener], watched: frozenset[NamePattern]) -> None:
        self.watched = watched
        self.held = {each.port: each for each in listeners}

    async def watch(self, patterns: frozenset[NamePattern]) -> None:
        self.watched = patterns

    async def state(self) -> ProxyState:
        return ProxyState("envoy", 77, "1.40.0", None, 1, {10000: Traffic(12, 3, 0.25, 1.5)})
