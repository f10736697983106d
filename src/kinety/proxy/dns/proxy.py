"""The agent's side of the DNS proxy: its process, and what it is told."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kinety import __version__
from kinety.model.layer7 import Layer7Id, NamePattern
from kinety.proxy.cgroup import inside
from kinety.proxy.dns import journal
from kinety.proxy.dns.counters import ListenerStatistics
from kinety.proxy.dns.journal import Mapped
from kinety.proxy.dns.question import ResponseCode
from kinety.proxy.dns.rebinding import Protection
from kinety.proxy.dns.service import Denied
from kinety.proxy.dns.session import Learn, Session
from kinety.proxy.dns.state import KNOWN, SOCKET, STATE, Listener, State
from kinety.proxy.error import ProxyError
from kinety.proxy.process import Process, confined, shorten

log = logging.getLogger(__name__)

_NAME = "dns"
_LOG_SECONDS, _AGAIN_SECONDS = 60.0, 1.0


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """How the process runs.

    ``directory`` is the agent's own for this, made when it is not there. ``source_ports`` are the first
    and last port of what is sent to servers. ``least_lifetime`` is how many seconds the agent keeps a
    mapping at least, ``protection`` what answers may not name, ``denied`` what is said of names of no
    pattern. ``patience`` is how many seconds a change may take. ``max_log`` is in bytes, of each of two
    files. ``cgroup`` is the one that it is in, by its directory; None: its starter's.
    """

    directory: Path
    source_ports: tuple[int, int] = (61000, 65535)
    least_lifetime: int = 0
    protection: Protection = Protection()  # noqa: RUF009 - a frozen value
    denied: ResponseCode = ResponseCode.REFUSED
    patience: float = 5.0
    max_log: int = 4 * 1024**2
    cgroup: Path | None = None

    @property
    def socket(self) -> Path:
        """Where the process calls the agent."""
        return self.directory / SOCKET


@dataclass(frozen=True, slots=True)
class DnsStatus:
    """``problem`` says why the process does not run or is not connected, None when it does and is.

    ``starts``: how often this agent started it. ``mappings``: pairs of a name and an address that it knows
    the kernel to have.
    """

    pid: int | None
    problem: str | None
    starts: int
    version: str
    mappings: int
    listeners: Mapping[Layer7Id, ListenerStatistics]


class DnsProxy:
    """The one DNS proxy of a node."""

    def __init__(
        self,
        settings: DnsSettings,
        answers: Learn,
        denied: Callable[[Denied], None],
        mappings: Callable[[], Mapping[Mapped, float]] = dict,
    ) -> None:
        """``answers`` returns True when the kernel has an answer's addresses, and False when it will not.

        ``denied`` is told of refused questions, of some when there are very many. ``mappings`` says what the
        kernel has already, and until when (seconds of the monotonic clock), to a process that has just come.
        """
        self._settings, self._answers, self._denied, self._mappings = settings, answers, denied, mappings
        self._state = State(
            protection=settings.protection, least=settings.least_lifetime, denied=settings.denied
        )
        self._process = Process(_NAME, settings.directory, self._command)
        self._session: Session | None = None
        self._sessions: dict[asyncio.Task[None], Session] = {}
        self._there = asyncio.Event()
        #: One change at a time, so that one which fails can be taken back.
        self._changing = asyncio.Lock()

    async def run(self) -> None:
        """Keep the process running and told. Cancelled, leave it alone: it serves on. Raises OSError."""
        self._settings.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._process.pid is None:
            # What a process finds there may be long over, and the ports somebody else's.
            whole = self._whole()
            whole.save(self._settings.directory)
            journal.write(self._settings.directory / KNOWN, whole.known)
        self._settings.socket.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._accept, self._settings.socket)
        self._settings.socket.chmod(0o600)
        try:
            async with server, asyncio.TaskGroup() as group:
                group.create_task(self._process.supervise())
                group.create_task(self._shorten_log())
        finally:
            await asyncio.sleep(0)  # for one that has just come
            while self._sessions:
                for session in self._sessions.values():
                    session.close()
                await asyncio.gather(*self._sessions)

    async def end(self) -> None:
        """End the process, and with it all that it serves; after `run` was cancelled."""
        await self._process.end()
        for left in (SOCKET, STATE, KNOWN):
            (self._settings.directory / left).unlink(missing_ok=True)

    async def restore(
        self, listeners: Mapping[Layer7Id, Listener], watched: Collection[NamePattern] = ()
    ) -> None:
        """What is to be served, as a whole: before `run`, which tells a process that comes."""
        self._state = replace(self._state, listeners=dict(listeners), watched=frozenset(watched))

    async def put(self, listeners: Mapping[Layer7Id, Listener]) -> None:
        """Add or change listeners; in force when it returns. Raises ProxyError, and changes nothing then."""

        def wanted(state: State) -> State:
            return replace(state, listeners={**state.listeners, **listeners})

        await self._change(wanted, put={key: each.to_json() for key, each in listeners.items()})

    async def remove(self, keys: Collection[Layer7Id]) -> None:
        """Close listeners. When the process is not there to do it, the next one will not have them."""
        gone = frozenset(keys)
        async with self._changing:
            left = {key: each for key, each in self._state.listeners.items() if key not in gone}
            self._state = replace(self._state, listeners=left)
            if self._session is not None:
                with contextlib.suppress(ProxyError):
                    await self._session.order(remove=sorted(gone))

    async def watch(self, patterns: frozenset[NamePattern]) -> None:
        """Be asked about addresses of names of these patterns, from now on. Raises ProxyError."""
        await self._change(
            lambda state: replace(state, watched=patterns),
            watch=sorted(each.pattern for each in patterns),
        )

    async def protect(self, protection: Protection) -> None:
        """Refuse answers by this, say since the node's own addresses are others. Raises ProxyError."""
        await self._change(lambda state: replace(state, protection=protection), protect=protection.to_json())

    async def forget(self, mapped: Iterable[Mapped]) -> None:
        """Mappings that are about to leave the kernel: answers with them are held again. Raises ProxyError.

        Without a process there is nothing to do: the next one is told what is there. So is one that does not
        answer in time; when it listens again, it finds this order, and then that it has to come again.
        """
        session = self._session
        if session is None:
            return
        try:
            async with asyncio.timeout(self._settings.patience):
                await session.order(forget=[[name, str(address)] for name, address in mapped])
        except TimeoutError as error:
            session.close()
            raise ProxyError("the DNS proxy does not do what it is told: it does not answer") from error

    async def status(self) -> DnsStatus:
        """The state of the process, and what it has done since it started."""
        told, problem = {}, self._process.problem
        if problem is None and self._session is None:
            problem = "it has not connected yet"
        if self._session is not None:
            try:
                async with asyncio.timeout(self._settings.patience):
                    told = await self._session.order(statistics=True)
            except (ProxyError, TimeoutError) as error:
                problem = str(error) or "it does not answer"
        listeners = {
            Layer7Id(key): ListenerStatistics(**each) for key, each in told.get("listeners", {}).items()
        }
        return DnsStatus(
            self._process.pid,
            problem,
            self._process.starts,
            told.get("version", ""),
            told.get("known", 0),
            listeners,
        )

    async def _change(self, wanted: Callable[[State], State], **order: object) -> None:
        """Give an order that changes the state. Raises ProxyError, and the state is as before then."""
        async with self._changing:
            before = self._state
            session = None
            try:
                async with asyncio.timeout(self._settings.patience):
                    await self._there.wait()
                    session = self._session
                    assert session is not None, "it is there"
                    self._state = wanted(before)
                    await session.order(**order)
            except BaseException as error:
                self._state = before
                if isinstance(error, TimeoutError | asyncio.CancelledError) and session is not None:
                    session.close()  # it may yet obey: let it come again and be told the whole
                if not isinstance(error, TimeoutError):
                    raise
                problem = self._process.problem or "it does not answer"
                raise ProxyError(f"the DNS proxy does not do what it is told: {problem}") from error

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A process has come: the newest one counts."""
        task = asyncio.current_task()
        assert task is not None, "a connection is a task"
        session = Session(reader, writer, self._answers, self._denied, self._gone)
        self._sessions[task] = session
        if self._session is not None:
            self._session.close()
        self._session = session
        self._there.clear()
        telling = asyncio.create_task(self._tell(session))
        try:
            await session.run()
        finally:
            telling.cancel()
            del self._sessions[task]

    def _gone(self, session: Session) -> None:
        if self._session is session:
            self._session = None
            self._there.clear()

    async def _tell(self, session: Session) -> None:
        try:
            await session.order(state=self._whole().to_json())
        except ProxyError as error:
            log.error("the DNS proxy does not serve what it should: %s", error)
            await asyncio.sleep(_AGAIN_SECONDS)
            session.close()
        else:
            if self._session is session:
                self._there.set()

    def _whole(self) -> State:
        return replace(self._state, known=self._mappings())

    def _command(self) -> list[str]:
        first, last = self._settings.source_ports
        program = [sys.executable, "-P", "-m", "kinety.proxy.dns", "--release", __version__]
        options = ["--run-directory", str(self._settings.directory), "--source-ports", f"{first}-{last}"]
        return inside(self._settings.cgroup, confined([*program, *options]))

    async def _shorten_log(self) -> None:
        while True:
            shorten(self._process.log, self._settings.max_log)
            await asyncio.sleep(_LOG_SECONDS)
