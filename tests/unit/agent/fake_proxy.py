"""A proxy of values: holds what it is told, and refuses when it is told to."""

from collections.abc import Collection, Mapping

from kinety.model.layer7 import Layer7Id
from kinety.proxy.error import ProxyError
from kinety.proxy.listener import Listener


class FakeProxy:
    """``kinety.agent.proxies.Proxy``."""

    def __init__(self) -> None:
        self.held: dict[Layer7Id, Listener] = {}
        self.failing = False
        self.calls = 0

    async def put(self, listeners: Mapping[Layer7Id, Listener]) -> None:
        self.calls += 1
        if self.failing:
            raise ProxyError("Envoy refuses the listener")
        ports = {each.port for each in listeners.values()}
        self.held = {key: each for key, each in self.held.items() if each.port not in ports} | dict(listeners)

    async def remove(self, ids: Collection[Layer7Id]) -> None:
        self.calls += 1
        for each in ids:
            self.held.pop(each, None)

    async def restore(self, listeners: Mapping[Layer7Id, Listener]) -> None:
        self.held = dict(listeners)
