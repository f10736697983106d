"""The proxies of a node, each made when a rule first asks for it: an agent without such rules loads none."""

import asyncio
import importlib.util
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from kinety.abi import Redirect
from kinety.agent.names.names import Mapped
from kinety.agent.options import Options
from kinety.agent.proxies.proxies import Proxy
from kinety.agent.proxies.reception import Reception
from kinety.agent.proxies.surroundings import Surroundings
from kinety.model.layer7 import NamePattern
from kinety.proxy.listener import Listener, ProxyState
from kinety.proxy.process import Process

#: What clients and servers of proxies are made of; `kinety[layer7]` brings them.
_LIBRARIES = ("dns", "grpclib", "xds")


class Served(Proxy, Protocol):
    """A proxy and its process, on the event loop."""

    async def withhold(self, mapped: Collection[Mapped]) -> None: ...
    async def readdress(self) -> None: ...
    async def run(self) -> None: ...
    async def end(self) -> None: ...


class OnDemand:
    """A proxy that is made when it is to serve something, or when a former agent has left one."""

    def __init__(self, name: str, make: Callable[[], Served], left: Callable[[], bool]) -> None:
        """``left`` tells whether there may be a process of a former agent."""
        self.name = name
        self._make = make
        self._left = left
        self._made: Served | None = None
        self._asked = asyncio.Event()
        self._watched: frozenset[NamePattern] = frozenset()

    async def run(self) -> None:
        """Serve, once there is something to serve. Cancelled, leave the process running."""
        await self._asked.wait()
        assert self._made is not None
        await self._made.run()

    async def put(self, listeners: Collection[Listener]) -> None:
        """As `Proxy`."""
        fresh = self._made is None
        await self._proxy().put(listeners)
        if fresh:
            await self._proxy().watch(self._watched)

    async def remove(self, ports: Collection[int]) -> None:
        """As `Proxy`."""
        if self._made is not None:
            await self._made.remove(ports)

    async def restore(self, listeners: Collection[Listener], watched: frozenset[NamePattern]) -> None:
        """As `Proxy`. What nothing needs any more is ended."""
        self._watched = watched
        if listeners:
            await self._proxy().restore(listeners, watched)
        elif self._left():
            await self._make().end()

    async def watch(self, patterns: frozenset[NamePattern]) -> None:
        """As `Proxy`."""
        self._watched = patterns
        if self._made is not None:
            await self._made.watch(patterns)

    async def withhold(self, mapped: Collection[Mapped]) -> None:
        """Hold answers with these mappings until they are learnt again."""
        if self._made is not None:
            await self._made.withhold(mapped)

    async def readdress(self) -> None:
        """The node has other addresses now. Raises ProxyError."""
        if self._made is not None:
            await self._made.readdress()

    async def state(self) -> ProxyState:
        """As `Proxy`."""
        return (
            ProxyState(self.name, problem="no policy needs it")
            if self._made is None
            else await self._made.state()
        )

    def _proxy(self) -> Served:
        if self._made is None:
            self._made = self._make()
            self._asked.set()
        return self._made


def proxies(options: Options, reception: Reception, surroundings: Surroundings) -> dict[str, OnDemand]:
    """The proxies that this node can have, by kind of content; ``reception`` is where they report.

    Those whose program or libraries are missing are not among them.
    """
    if options.l7_redirect is Redirect.NONE or any(map(_lacks, _LIBRARIES)):
        return {}
    directory = options.socket.parent
    found: dict[str, OnDemand] = {}
    # One that a former agent has left serves on, also where there is none to take its place.
    if shutil.which(options.envoy) or (directory / "envoy").is_dir():
        envoy = OnDemand(
            "envoy",
            lambda: _envoy(options, directory / "envoy", reception, surroundings.cgroup),
            (directory / "envoy").is_dir,
        )
        found |= {"http": envoy, "server_names": envoy}
    found["dns"] = OnDemand(
        "dns", lambda: _dns(options, directory / "dns", reception, surroundings), (directory / "dns").is_dir
    )
    return found


async def end_left(directory: Path) -> None:
    """End proxies that a former agent has left, and remove what is theirs. ``directory`` is the socket's."""
    for name in ("envoy", "dns"):
        if (directory / name).is_dir():
            await Process(name, directory / name, tuple).end()
            shutil.rmtree(directory / name)


def _lacks(module: str) -> bool:
    return importlib.util.find_spec(module) is None


def _envoy(options: Options, directory: Path, reception: Reception, cgroup: Path | None) -> Served:
    from kinety.agent.proxies.envoy import EnvoyProxy

    return EnvoyProxy(options, directory, reception.tell, cgroup)


def _dns(options: Options, directory: Path, reception: Reception, surroundings: Surroundings) -> Served:
    from kinety.agent.proxies.dns import NameProxy

    return NameProxy(options, directory, reception, surroundings)
