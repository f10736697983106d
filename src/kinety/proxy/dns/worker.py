"""The process: it does what the agent orders, and until there is an agent what its file says."""

import asyncio
import logging
import time
from dataclasses import asdict, replace
from ipaddress import ip_address
from pathlib import Path

from kinety import __version__
from kinety.model.layer7 import Layer7Id, NamePattern
from kinety.proxy.dns import frame
from kinety.proxy.dns.gate import Gate
from kinety.proxy.dns.journal import Journal, Mapped
from kinety.proxy.dns.link import AgentLink
from kinety.proxy.dns.rebinding import Protection
from kinety.proxy.dns.replies import Replies
from kinety.proxy.dns.server import Server
from kinety.proxy.dns.service import Service, families
from kinety.proxy.dns.state import KNOWN, SOCKET, Listener, State

log = logging.getLogger(__name__)

#: Seconds between looks at what is too old, and between writing down which mappings the kernel has.
_TICK, _SAVE = 0.25, 1.0


class Worker:
    """What listens, what judges, and the link with the agent, put together."""

    def __init__(self, directory: Path, ports: range) -> None:
        """``ports``: the sources of what is sent to servers. Raises OSError without capabilities."""
        self._directory = directory
        self._link = AgentLink(directory / SOCKET, self._obey, self._attend)
        self._gate = Gate(self._link.tell, self._note)
        self._journal: Journal | None = None
        self._replies = {family: Replies(family) for family in families()}
        self._server = Server(Service(ports, self._replies, self._gate.admit, self._link.deny))
        #: As ordered; ``known`` is the gate's.
        self._state = State()

    async def run(self) -> None:
        """Serve until cancelled, or until there is no directory in which an agent could find this process.

        Raises OSError or ValueError when that cannot begin.
        """
        await self._restore(State.load(self._directory))
        self._journal = Journal(self._directory / KNOWN, self._gate.known)
        try:
            async with asyncio.TaskGroup() as group:
                others = [group.create_task(part) for part in (self._link.run(), self._expire())]
                await self._keep(self._journal)
                for task in others:
                    task.cancel()
        finally:
            self._journal.close()
            self._server.close()
            for each in self._replies.values():
                each.close()

    async def _restore(self, state: State) -> None:
        await self._server.restore(state.listeners, state.denied)
        self._gate.watch(state.watched)
        self._gate.protect(state.protection, state.least)
        self._gate.restore(state.known)
        self._state = state

    async def _obey(self, order: frame.Value) -> object:
        """Do what an order says; what is ordered is written down before it counts as done."""
        match order:
            case {"known": number}:
                self._gate.confirm(number)
            case {"failed": number}:
                self._gate.fail(number)
            case {"statistics": _}:
                return self._statistics()
            case {"forget": mapped}:
                self._gate.forget((name, ip_address(address)) for name, address in mapped)
                self._save_known()
            case {"state": state}:
                await self._restore(State.from_json(state))
                self._save()
                if self._journal is not None:
                    await self._journal.write_anew(self._gate.known)
            case {"put": listeners}:
                put = {Layer7Id(key): Listener.from_json(each) for key, each in listeners.items()}
                await self._server.put(put)
                self._state = replace(self._state, listeners={**self._state.listeners, **put})
                self._save()
            case {"remove": keys}:
                self._server.remove(keys)
                left = {key: each for key, each in self._state.listeners.items() if key not in keys}
                self._state = replace(self._state, listeners=left)
                self._save()
            case {"watch": patterns}:
                watched = frozenset(NamePattern(each) for each in patterns)
                self._gate.watch(watched)
                self._state = replace(self._state, watched=watched)
                self._save()
            case {"protect": value}:
                protection = Protection.from_json(value)
                self._gate.protect(protection, self._state.least)
                self._state = replace(self._state, protection=protection)
                self._save()
            case _:
                raise ValueError(f"an order that nobody knows: {', '.join(order)}")
        return None

    def _attend(self, attended: bool) -> None:
        self._gate.attend(attended)

    def _statistics(self) -> dict[str, object]:
        each = {key: asdict(statistics) for key, statistics in self._server.statistics().items()}
        return {"version": __version__, "known": len(self._gate.known), "listeners": each}

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            self._server.expire(now)
            self._gate.expire(now)

    async def _keep(self, journal: Journal) -> None:
        saved = True
        while self._directory.is_dir():
            await asyncio.sleep(_SAVE)
            journal.flush_quietly()
            try:
                await journal.keep_short(self._gate.known)
                saved = True
            except OSError as error:
                if saved and self._directory.is_dir():
                    log.warning(
                        "should this process be killed, the next will not know what it knew: %s", error
                    )
                saved = False
        log.error("%s is gone, and with it whoever could tell what to serve", self._directory)

    def _note(self, mapped: Mapped, until: float | None) -> None:
        if self._journal is not None:
            self._journal.note(mapped, until)

    def _save_known(self) -> None:
        """Have on disk which mappings the kernel has; where that cannot be, it is tried again."""
        if self._journal is not None:
            self._journal.flush_quietly()

    def _save(self) -> None:
        self._state.save(self._directory)
