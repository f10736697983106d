"""The composition root: builds the parts, runs them in one task group, and takes them down again.

=============  ==========================================  =============================
task           owns                                        turns
=============  ==========================================  =============================
worker         engine, store, datapath (its thread)        requests into steps of the plan
maintenance    the worker's idle time                      spare tables and tcx links
repair         the plan the kernel refused                 pauses into attempts
watch          the network monitor                         vanished links, host addresses
stream         the ring buffer                             events into watchers' queues
runtimes       connections to container runtimes           changed labels into steps of the plan
proxies        their processes and what they are told      sets of rules into listeners
names          what DNS said                               answers, and their ends, into steps
API server     the socket                                  requests into calls of the node
=============  ==========================================  =============================
"""

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from pathlib import Path
from typing import Any

from aiohttp import web

from kinety.abi import Redirect
from kinety.agent import answers, unjudged
from kinety.agent.address_book import AddressBook
from kinety.agent.bell import Bell
from kinety.agent.bell import remove as remove_bell
from kinety.agent.control import Control
from kinety.agent.denial import Denials
from kinety.agent.directory import Directory
from kinety.agent.garbage import Garbage
from kinety.agent.listener import StateLock, listen, notify
from kinety.agent.names.cache import NameCache
from kinety.agent.names.names import Names, facts, nobody
from kinety.agent.node import AgentNode, stored_files
from kinety.agent.options import OWN_BPFFS, SYSTEM_BPFFS, Options
from kinety.agent.pool import AddressPool, Network
from kinety.agent.proxies import kind as proxy_kind
from kinety.agent.proxies.kind import OnDemand
from kinety.agent.proxies.proxies import Proxies
from kinety.agent.proxies.reception import Reception
from kinety.agent.proxies.surroundings import Surroundings
from kinety.agent.runtime_kind import runtime
from kinety.agent.runtimes import Runtimes
from kinety.agent.store import Store, StoreError
from kinety.agent.stream import EventStream
from kinety.agent.wishes import refuse_limited
from kinety.agent.worker import Worker
from kinety.api import departure
from kinety.api.server import application
from kinety.datapath.cleanup import cleanup
from kinety.datapath.datapath import Datapath
from kinety.datapath.proxy_cgroup import cgroup_of_proxies
from kinety.datapath.redirect_choice import choose_redirect
from kinety.datapath.settings import Settings
from kinety.kernel import bpffs
from kinety.kernel.monitor import Happening, NetworkMonitor
from kinety.kernel.netlink import Netlink
from kinety.model.address import Prefix, pack_address, unpack_address
from kinety.model.identity import ClassId, Identity
from kinety.plan.engine import Engine
from kinety.proxy.error import ProxyError

log = logging.getLogger(__name__)

#: The worker's thread gets the interpreter back this soon from the event loop, in seconds.
_SWITCH_INTERVAL = 0.0005
#: How long to let changes of links and addresses settle before looking, in seconds.
_SETTLE = 0.2
#: How long open requests may take when the agent stops, in seconds.
_LAST_REQUESTS = 2.0
#: Seconds between looks at whether listeners may go, and until a proxy that cannot be served is tried again.
_COLLECT_INTERVAL, _PROXY_PAUSE = 5.0, 1.0


def settings_of(options: Options) -> Settings:
    """The datapath's settings."""
    return Settings(
        pins=options.bpffs or (SYSTEM_BPFFS / "kinety" if bpffs.mounted(SYSTEM_BPFFS) else OWN_BPFFS),
        capacity=options.capacity,
        conntrack=options.conntrack_entries,
        ipv4=options.ipv4,
        ipv6=options.ipv6,
        event_level=options.events,
        shadow=options.shadow,
        fragments=options.fragments,
        bandwidth=options.bandwidth,
        hooks=options.hooks,
        clsact_only=options.clsact_only,
        pools=tuple(Prefix.parse(str(pool)) for pool in options.pools),
        masquerade=options.masquerade,
        mtu=options.mtu,
        redirect=options.l7_redirect,
        proxy_source_ports=(options.proxy_source_ports.start, options.proxy_source_ports.stop - 1),
    )


def _possible(options: Options) -> tuple[Options, Settings]:
    """What is asked for as far as this node can do it, and the datapath's part."""
    choice = choose_redirect(options.l7_redirect)
    if choice.why:
        log.warning("flows get to proxies by %s: %s", choice.redirect.name.lower(), choice.why)
    options = replace(options, l7_redirect=choice.redirect)
    return options, replace(settings_of(options), redirect_remark=choice.why)


def _surroundings(settings: Settings) -> Surroundings:
    """What proxies are told of the node. Raises OSError when they cannot be put where they have to be."""
    return Surroundings(lambda: map(unpack_address, host_addresses(settings)), cgroup_of_proxies(settings))


def _problem(settings: Settings) -> str:
    """Why nothing gets to a proxy, where that is so."""
    if settings.redirect is not Redirect.NONE:
        return ""
    return settings.redirect_remark or "the agent was started with --l7-redirect none"


async def run(options: Options) -> None:
    """Run the agent until it is told to stop; the datapath goes on forwarding.

    Raises OSError, ValueError, StoreError or PolicyError when it cannot start.
    """
    started = time.time()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    async with AsyncExitStack() as stack:
        stack.enter_context(StateLock(options.state_dir))
        listener = listen(options.socket)
        stack.callback(options.socket.unlink, missing_ok=True)
        stack.callback(listener.close)
        store = Store(options.store)
        stack.callback(store.close)
        runtimes = Runtimes([runtime(kind, address) for kind, address in options.runtimes])
        garbage = Garbage()
        worker = Worker(garbage.set_aside)
        stack.callback(worker.close)
        options, settings = _possible(options)
        _refuse_held(store, settings)
        datapath = await worker.run(Datapath.open, settings)
        stack.callback(datapath.close)
        reception = Reception()
        served = proxy_kind.proxies(options, reception, _surroundings(settings))
        proxies = Proxies(store.proxy_ports, options.proxy_ports, served, _caller(loop), _problem(settings))
        cache = NameCache(options.fqdn_min_ttl, options.fqdn_max_addresses, _room_for_names(datapath))
        control = await worker.run(_start, options, settings, store, datapath, proxies, cache)
        names = Names(control, worker, cache, served["dns"].withhold if "dns" in served else nobody)
        denials = Denials(worker, lambda flow: answers.denial(control.engine, *flow), lambda: control.steps)
        stream = EventStream(datapath.event_source, control.directory, denials)
        stack.callback(stream.close)
        reception.open(proxies, stream, names)
        node = AgentNode(control, worker, stream, options.state_dir, started, runtimes, options.dns, names)
        await node.end_departed()
        await stack.enter_async_context(_serving(node, listener, options.socket))
        garbage.set_aside()
        notify("READY=1")
        log.info("ready on %s with %d endpoints", options.socket, len(control.endpoints))
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_background(control, worker, garbage)),
                group.create_task(_repair(control, worker)),
                group.create_task(_watch(control, worker, settings, set(served.values()))),
                group.create_task(runtimes.follow(node.heed)),
                group.create_task(_collect(control, worker)),
                *(group.create_task(_keep_running(each)) for each in set(served.values())),
                group.create_task(names.run()),
            ]
            await stop.wait()
            notify("STOPPING=1")
            log.info("stopping; the datapath goes on forwarding")
            stream.close()
            for task in tasks:
                task.cancel()


@asynccontextmanager
async def _serving(node: AgentNode, listener: socket.socket, path: Path) -> AsyncIterator[None]:
    """Answer the socket, and then the bell beside it; at the end the other way round."""
    runner = web.AppRunner(application(node), access_log=None, shutdown_timeout=_LAST_REQUESTS)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        bell = Bell(path)
        bell.open()
        try:
            yield
        finally:
            await asyncio.to_thread(bell.close)
    finally:
        await runner.cleanup()


def _refuse_held(store: Store, settings: Settings) -> None:
    """Raises PolicyError or ValueError for what the store holds and these settings do without."""
    if not settings.shadow:
        declared = (each for file in stored_files(store) for each in file.declarations.values())
        unjudged.refuse_held(store.audited(), declared)
    if not settings.bandwidth:
        refuse_limited((each.endpoint, each.wishes) for each in store.endpoints())


def clean(options: Options) -> None:
    """Remove what an agent with these options has put anywhere. Raises OSError, also when one runs."""
    with StateLock(options.state_dir) as lock:
        asyncio.run(proxy_kind.end_left(options.socket.parent))
        cleanup(settings_of(options))
        for suffix in ("", "-wal", "-shm"):
            Path(f"{options.store}{suffix}").unlink(missing_ok=True)
        if options.socket.is_socket():
            options.socket.unlink()
        remove_bell(options.socket)
        departure.remove(options.state_dir)
        lock.path.unlink()
    for directory in (options.state_dir, options.socket.parent):
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()


def host_addresses(settings: Settings) -> frozenset[bytes]:
    """The node's own addresses, without those of endpoint interfaces and the loopback's."""
    return frozenset(pack_address(each.ip) for each in _own_interfaces(settings))


def node_networks(settings: Settings) -> tuple[Network, ...]:
    """The networks that the node is in by its own addresses."""
    return tuple(each.network for each in _own_interfaces(settings))


def _own_interfaces(settings: Settings) -> list[IPv4Interface | IPv6Interface]:
    with Netlink() as netlink:
        return [
            ip_interface(f"{item.address}/{item.bits}")
            for item in netlink.addresses()
            if item.index < settings.interface_base and not item.address.is_loopback
        ]


def _start(
    options: Options,
    settings: Settings,
    store: Store,
    datapath: Datapath,
    proxies: Proxies,
    cache: NameCache,
) -> Control:
    classes = {Identity(row["identity"]): ClassId(row["class"]) for row in datapath.dump("identity_classes")}
    engine = Engine(
        datapath.capacity,
        allow_localhost=options.allow_localhost,
        identities=store.identities(),
        outside=store.outside(),
        classes=classes,
        rules=store.rules(),
    )
    pools = [AddressPool(prefix, options.pool_reserve) for prefix in options.pools]
    _warn_of_neighbours(options, node_networks(settings))
    book = AddressBook(store, pools, options.address_quarantine)
    directory = Directory(engine.identities.get, engine.identity_of_address)
    control = Control(engine, store, datapath, directory, book, proxies)
    cache.restore(store.names.all())
    known = facts(cache.names())
    control.start(stored_files(store), host_addresses(settings), options.node_labels, known)
    return control


def _room_for_names(datapath: Datapath) -> int:
    """Mappings of names that there may be: a quarter of the addresses is for endpoints and prefixes."""
    return datapath.capacity.ipcache_hosts * 3 // 4


def _warn_of_neighbours(options: Options, networks: Iterable[Network]) -> None:
    """Say so when pools have addresses that may be another machine's beside this one.

    That is no reason not to start: endpoints that run were there before the network changed.
    """
    reserved = [Prefix.parse(str(each)) for each in options.pool_reserve]
    for network in networks:
        kept_out = any(each.covers(Prefix.parse(str(network))) for each in reserved)
        for pool in options.pools:
            if network.num_addresses > 1 and network.overlaps(pool) and not kept_out:
                log.warning(
                    "pool %s overlaps %s, a network of this node: endpoints may get addresses of other"
                    " machines there; use another pool, or --pool-reserve %s",
                    pool,
                    network,
                    network,
                )


async def _background(control: Control, worker: Worker, garbage: Garbage) -> None:
    """Do what is to be done when nobody asks for anything."""
    await worker.maintain(
        lambda: _maintain(control, garbage), lambda: control.datapath.hurried, lambda: _linger(control)
    )


def _maintain(control: Control, garbage: Garbage) -> bool:
    try:
        if not control.repair.pending:
            pieces = [control.settle, control.datapath.maintain]
            if any(piece() for piece in (reversed(pieces) if control.datapath.hurried else pieces)):
                return True
        garbage.look()
        return False
    except OSError as error:
        log.warning("background work failed and is tried again after the next change: %s", error)
        return False


def _linger(control: Control) -> None:
    """What background work has to wait for."""
    control.datapath.linger()
    try:
        control.store.tidy()
    except StoreError as error:
        log.warning("the store's log stays long, and is brought into the file later: %s", error)


async def _repair(control: Control, worker: Worker) -> None:
    while True:
        await asyncio.sleep(max(control.repair.wait, _SETTLE))
        if control.repair.pending and control.repair.wait == 0:
            await worker.run(control.repair.attempt)


async def _collect(control: Control, worker: Worker) -> None:
    """End listeners that no flow goes through any more. Who waits for a proxy meanwhile is not the worker."""
    while True:
        await asyncio.sleep(_COLLECT_INTERVAL)
        if control.proxies.leaving(control.engine.layer7_sets):
            try:
                if await worker.run(control.retire_listeners):
                    await control.proxies.end()
            except (ProxyError, StoreError, OSError) as error:
                log.warning("listeners that nothing needs any more stay for now: %s", error)


async def _keep_running(proxy: OnDemand) -> None:
    """Serve a proxy, whatever goes wrong: endpoints need the agent for more than that."""
    while True:
        try:
            await proxy.run()
        except Exception:
            log.exception("a proxy cannot be served, and is tried again")
            await asyncio.sleep(_PROXY_PAUSE)


def _caller(loop: asyncio.AbstractEventLoop) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Has the event loop do something for another thread, which waits for it."""
    return lambda work: asyncio.run_coroutine_threadsafe(work, loop).result()


async def _watch(control: Control, worker: Worker, settings: Settings, proxies: Iterable[OnDemand]) -> None:
    def look(happened: Happening) -> None:
        if Happening.ADDRESS in happened:
            control.change_host_addresses(host_addresses(settings))
        if Happening.LINK_REMOVED in happened:
            control.collect_vanished()

    with NetworkMonitor() as monitor:
        happened = Happening.LINK_REMOVED | Happening.ADDRESS
        while True:
            if happened:
                try:
                    await worker.run(look, happened)
                    if Happening.ADDRESS in happened:
                        await asyncio.gather(*(each.readdress() for each in proxies))
                except Exception:
                    log.exception("could not follow a change of links or addresses")
            happened = await _settled(monitor)


async def _settled(monitor: NetworkMonitor) -> Happening:
    """What has changed, some time after something has.

    Nobody listens meanwhile: the socket stays readable, and would wake the event loop again and again.
    """
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    loop.add_reader(monitor.fileno(), arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(monitor.fileno())
    await asyncio.sleep(_SETTLE)
    return monitor.read()
