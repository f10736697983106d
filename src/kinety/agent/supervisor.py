"""The composition root: builds the parts, runs them in one task group, and takes them down again.

=============  ==========================================  =============================
task           owns                                        turns
=============  ==========================================  =============================
worker         engine, store, datapath (its thread)        requests into steps of the plan
maintenance    the worker's idle time                      spare tables and tcx links
repair         the plan the kernel refused                 pauses into attempts
watch          the network monitor                         vanished links, host addresses
stream         the ring buffer                             events into watchers' queues
API server     the socket                                  requests into calls of the node
=============  ==========================================  =============================
"""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from kinety.agent import answers, unjudged
from kinety.agent.control import Control
from kinety.agent.denial import Denials
from kinety.agent.directory import Directory
from kinety.agent.garbage import Garbage
from kinety.agent.listener import StateLock, listen, notify
from kinety.agent.node import AgentNode, stored_files
from kinety.agent.options import OWN_BPFFS, SYSTEM_BPFFS, Options
from kinety.agent.pool import AddressPool
from kinety.agent.store import Store
from kinety.agent.stream import EventStream
from kinety.agent.worker import Worker
from kinety.api import departure
from kinety.api.server import application
from kinety.datapath.cleanup import cleanup
from kinety.datapath.datapath import Datapath
from kinety.datapath.settings import Settings
from kinety.kernel import bpffs
from kinety.kernel.monitor import Happening, NetworkMonitor
from kinety.kernel.netlink import Netlink
from kinety.model.address import Prefix, pack_address, unpack_address
from kinety.model.endpoint import Endpoint
from kinety.model.identity import ClassId, Identity
from kinety.plan.engine import Engine

log = logging.getLogger(__name__)

#: The worker's thread gets the interpreter back this soon from the event loop, in seconds.
_SWITCH_INTERVAL = 0.0005
#: How long to let changes of links and addresses settle before looking, in seconds.
_SETTLE = 0.2
#: How long open requests may take when the agent stops, in seconds.
_LAST_REQUESTS = 2.0


def settings_of(options: Options) -> Settings:
    """The datapath's settings."""
    pools = [pool for pool in (options.ipv4_pool, options.ipv6_pool) if pool is not None]
    return Settings(
        pins=options.bpffs or (SYSTEM_BPFFS / "kinety" if bpffs.mounted(SYSTEM_BPFFS) else OWN_BPFFS),
        capacity=options.capacity,
        conntrack=options.conntrack_entries,
        ipv4=options.ipv4,
        ipv6=options.ipv6,
        event_level=options.events,
        shadow=options.shadow,
        fragments=options.fragments,
        hooks=options.hooks,
        clsact_only=options.clsact_only,
        pools=tuple(Prefix.parse(str(pool)) for pool in pools),
        masquerade=options.masquerade,
        mtu=options.mtu,
    )


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
        garbage = Garbage()
        worker = Worker(garbage.set_aside)
        stack.callback(worker.close)
        settings = settings_of(options)
        if not settings.shadow:
            declared = (each for file in stored_files(store) for each in file.declarations.values())
            unjudged.refuse_held(store.audited(), declared)
        datapath = await worker.run(Datapath.open, settings)
        stack.callback(datapath.close)
        control = await worker.run(_start, options, settings, store, datapath)
        denials = Denials(worker, lambda flow: answers.denial(control.engine, *flow), lambda: control.steps)
        stream = EventStream(datapath.event_source, control.directory, denials)
        stack.callback(stream.close)
        pools = _pools(options, [record.endpoint for record in control.endpoints.values()])
        node = AgentNode(control, worker, stream, pools, options.state_dir, started)
        await node.end_departed()
        runner = web.AppRunner(application(node), access_log=None, shutdown_timeout=_LAST_REQUESTS)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, listener).start()
        garbage.set_aside()
        notify("READY=1")
        log.info("ready on %s with %d endpoints", options.socket, len(control.endpoints))
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    worker.maintain(lambda: _maintain(control, garbage), lambda: control.datapath.hurried)
                ),
                group.create_task(_repair(control, worker)),
                group.create_task(_watch(control, worker, node, settings)),
            ]
            await stop.wait()
            notify("STOPPING=1")
            log.info("stopping; the datapath goes on forwarding")
            stream.close()
            for task in tasks:
                task.cancel()


def clean(options: Options) -> None:
    """Remove what an agent with these options has put anywhere. Raises OSError, also when one runs."""
    with StateLock(options.state_dir) as lock:
        cleanup(settings_of(options))
        for suffix in ("", "-wal", "-shm"):
            Path(f"{options.store}{suffix}").unlink(missing_ok=True)
        if options.socket.is_socket():
            options.socket.unlink()
        departure.remove(options.state_dir)
        lock.path.unlink()
    for directory in (options.state_dir, options.socket.parent):
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()


def host_addresses(settings: Settings) -> frozenset[bytes]:
    """The node's own addresses, without those of endpoint interfaces and the loopback's."""
    with Netlink() as netlink:
        return frozenset(
            pack_address(item.address)
            for item in netlink.addresses()
            if item.index < settings.interface_base and not item.address.is_loopback
        )


def _start(options: Options, settings: Settings, store: Store, datapath: Datapath) -> Control:
    classes = {Identity(row["identity"]): ClassId(row["class"]) for row in datapath.dump("identity_classes")}
    engine = Engine(
        datapath.capacity,
        allow_localhost=options.allow_localhost,
        identities=store.identities(),
        prefixes=store.prefixes(),
        classes=classes,
        rules=store.rules(),
    )
    control = Control(engine, store, datapath, Directory(engine.identities.get))
    control.start(stored_files(store), host_addresses(settings), options.node_labels)
    return control


def _pools(options: Options, endpoints: list[Endpoint]) -> Mapping[int, AddressPool]:
    packed = [address for endpoint in endpoints for address in (endpoint.ipv4, endpoint.ipv6)]
    used = [unpack_address(address) for address in packed if address is not None]
    prefixes = {4: options.ipv4_pool, 6: options.ipv6_pool}
    return {version: AddressPool(prefix, used) for version, prefix in prefixes.items() if prefix is not None}


def _maintain(control: Control, garbage: Garbage) -> bool:
    try:
        if not control.repair.pending and (control.settle() or control.datapath.maintain()):
            return True
        garbage.look()
        return False
    except OSError as error:
        log.warning("background work failed and is tried again after the next change: %s", error)
        return False


async def _repair(control: Control, worker: Worker) -> None:
    while True:
        await asyncio.sleep(max(control.repair.wait, _SETTLE))
        if control.repair.pending and control.repair.wait == 0:
            await worker.run(control.repair.attempt)


async def _watch(control: Control, worker: Worker, node: AgentNode, settings: Settings) -> None:
    def look(happened: Happening) -> None:
        if Happening.ADDRESS in happened:
            control.change_host_addresses(host_addresses(settings))
        if Happening.LINK_REMOVED in happened:
            for record in control.collect_vanished():
                node.release(record)

    with NetworkMonitor() as monitor:
        happened = Happening.LINK_REMOVED | Happening.ADDRESS
        while True:
            if happened:
                try:
                    await worker.run(look, happened)
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
