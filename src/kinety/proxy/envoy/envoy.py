"""The door to Envoy: rules about HTTP and TLS put, removed and restored, its process supervised."""

import asyncio
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import product

from kinety.model.layer7 import Layer7Id
from kinety.proxy.envoy import admin
from kinety.proxy.envoy.admin import ListenerStatistics
from kinety.proxy.envoy.channel import channel
from kinety.proxy.envoy.delivery import Change, Delivery
from kinety.proxy.envoy.discovery import Discovery
from kinety.proxy.envoy.listener import LOOPBACK, Listener, listener_message
from kinety.proxy.envoy.observation import Observation, Request
from kinety.proxy.envoy.process import prepare, process
from kinety.proxy.envoy.resource import LISTENER_TYPE, ROUTE_TYPE, TYPES, Resource
from kinety.proxy.envoy.routes import route_message
from kinety.proxy.envoy.settings import EnvoySettings
from kinety.proxy.error import ProxyError
from kinety.proxy.process import shorten

#: Seconds between looks at the log's size, and between attempts to connect to a new listener.
_LOG_INTERVAL, _SERVING_INTERVAL = 30.0, 0.002


@dataclass(frozen=True, slots=True)
class EnvoyStatus:
    """Which process Envoy is, None when it does not run; ``problem`` says what is wrong, if anything.

    ``starts`` counts how often this agent has started it, ``responses`` how many messages it was sent.
    """

    pid: int | None = None
    version: str | None = None
    problem: str | None = None
    starts: int = 0
    responses: int = 0
    listeners: Mapping[Layer7Id, ListenerStatistics] = field(default_factory=dict)


class Envoy:
    """One Envoy and its listeners. All of it is called on one event loop, in the node's network namespace."""

    def __init__(self, settings: EnvoySettings, observe: Callable[[Request], None]) -> None:
        """``observe`` is told of refused requests, and of noted ones; it must not take long."""
        self._settings = settings
        self._listeners: dict[Layer7Id, Listener] = {}
        self._process = process(settings)
        self._discovery = Discovery()
        self._observation = Observation(observe)
        self._delivery = Delivery(
            self._discovery,
            settings.patience,
            self._served,
            lambda: self._process.problem or "it is starting",
        )

    async def restore(self, listeners: Mapping[Layer7Id, Listener]) -> None:
        """What there is from the start, before `run`: of an Envoy that runs already, the rest goes.

        Raises ProxyError for rules that Envoy cannot carry out.
        """
        for type, resources in self._change(listeners).items():
            self._discovery.want(type, resources)
        self._listeners.update(listeners)

    async def run(self) -> None:
        """Serve Envoy, and see to it that there is one. Cancelled, leave it running. Raises OSError."""
        prepare(self._settings)
        services = self._discovery, self._observation
        async with (
            channel(self._settings.channel, self._settings.user, services),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self._process.supervise())
            tasks.create_task(self._watch_log())

    async def put(self, listeners: Mapping[Layer7Id, Listener]) -> None:
        """Add or change listeners; return when they serve.

        Raises ProxyError when Envoy refuses them, is not there, or takes too long; then all is as it was.
        """
        before = {id: self._listeners.get(id) for id in listeners}
        change = self._change(listeners)
        self._listeners.update(listeners)
        try:
            await self._delivery.deliver(change)
        except BaseException:
            self._take_back(before)
            raise

    async def remove(self, ids: Collection[Layer7Id]) -> None:
        """Remove listeners; return when their ports are free. Those that are not there are gone already.

        Raises ProxyError as `put` does.
        """
        before = {id: self._listeners.pop(id, None) for id in ids}
        change: Change = {type: dict.fromkeys(ids, None) for type in TYPES}
        try:
            await self._delivery.deliver(change)
        except BaseException:
            self._take_back(before)
            raise
        ports = [each.port for each in before.values() if each is not None]
        try:
            async with asyncio.timeout(self._settings.patience):
                await _wait_listening(ports, listening=False)
        except TimeoutError as error:
            raise ProxyError(f"Envoy still listens on some of the ports {ports}") from error

    async def end(self) -> None:
        """End the process, for good, after `run` was cancelled."""
        await self._process.end()

    async def status(self) -> EnvoyStatus:
        """How it is. Never raises for an Envoy that does not answer."""
        running = self._process
        found = EnvoyStatus(
            running.pid, problem=running.problem, starts=running.starts, responses=self._discovery.responses
        )
        if found.pid is None:
            return found
        try:
            version = await admin.version(self._settings.admin)
            listeners = await admin.statistics(self._settings.admin)
        except OSError as error:
            return replace(found, problem=str(error))
        known = {id: listeners[id] for id in self._listeners if id in listeners}
        return replace(found, version=version, listeners=known)

    def _take_back(self, before: Mapping[Layer7Id, Listener | None]) -> None:
        for id, listener in before.items():
            if listener is None:
                self._listeners.pop(id, None)
            else:
                self._listeners[id] = listener

    def _change(self, listeners: Mapping[Layer7Id, Listener]) -> Change:
        found: dict[str, dict[str, Resource | None]] = {type: {} for type in TYPES}
        for id, listener in listeners.items():
            try:
                found[LISTENER_TYPE][id] = Resource.of(listener_message(id, listener))
                if not listener.layer7.server_names:
                    routes = route_message(id, listener.layer7, listener.policies, self._settings.denied_body)
                    found[ROUTE_TYPE][id] = Resource.of(routes)
            except ValueError as error:
                raise ProxyError(f"rules of {', '.join(listener.policies)}: {error}") from error
        return found

    async def _served(self, names: Collection[str]) -> None:
        """Return when each of these listeners, removed ones aside, accepts connections."""
        ports = [each.port for name in names if (each := self._listeners.get(Layer7Id(name)))]
        await _wait_listening(ports, listening=True)

    async def _watch_log(self) -> None:
        while True:
            shorten(self._settings.log, self._settings.max_log)
            await asyncio.sleep(_LOG_INTERVAL)


async def _wait_listening(ports: Collection[int], *, listening: bool) -> None:
    """Return when somebody listens on each of the ports, or nobody does, on both addresses.

    Envoy's threads take up a listener, and put it down, a moment after Envoy has confirmed it.
    """
    for address, port in product(LOOPBACK, ports):
        while _listens(address, port) != listening:  # noqa: ASYNC110 - nobody tells of that
            await asyncio.sleep(_SERVING_INTERVAL)


def _listens(address: str, port: int) -> bool:
    """Whether somebody listens there. The connection is for the listener itself, which closes it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as connecting:
        return connecting.connect_ex((address, port)) == 0
