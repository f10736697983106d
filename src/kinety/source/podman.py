"""Containers of Podman: what labels they have. Podman cannot change those of a container that is there.

Podman has no service that must run, so it is its command line that is asked. While it adds a container to a
network it holds that container's lock, and waits for the plugin, which waits for the agent; whatever looks at
the container's state would wait for that lock: ``podman inspect``, ``podman ps`` (of any container), and the
same in its REST API. Two things do not:

``podman generate spec``   reads what the container was made from, its labels among that
``podman events``          tells labels in the event of the container's creation, before it is started

The first answers for any container and takes as long as a start of Podman. The second, followed all the time,
spares that: what it told is known when the container is added. ``podman ps``, which may wait, is only asked
for those that were there before, when the agent starts. Docs: podman-generate-spec(1), podman-events(1).
"""

import asyncio
import errno
import json
import logging
import re
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from kinety.model.label import CONTAINER, K8S
from kinety.source.runtime import PATIENCE, Container, News, Removed

log = logging.getLogger(__name__)

#: Podman's ids. Its other names for a container could be the id of one of another runtime.
_ID = re.compile("[0-9a-f]{64}")
#: What Podman, Buildah and tools around them note for themselves, some of it another for every container.
_BOOKKEEPING = ("io.buildah.", "io.containers.", "PODMAN_SYSTEMD_UNIT")
_EVENTS = ("--filter", "type=container", "--filter", "event=create", "--filter", "event=remove")
#: The kernel ends the command with the agent, however that ends.
_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
#: Seconds that a list of all containers may take: it waits for those that are being started.
_LONG = 60.0
#: Seconds from a failure to the next attempt: the first time, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
#: Bytes of an event, most of which are labels.
_LONGEST_EVENT = 1 << 20


class Podman:
    """``kinety.source.runtime.Runtime`` for Podman, as root runs it."""

    name = "podman"

    def __init__(self, address: str) -> None:
        """``address`` is the program: its path, or its name in ``PATH``. Nothing is run yet."""
        self.address = address
        self.problem: str | None = "not asked yet"
        self._known: dict[str, Container] = {}

    async def find(self, container: str) -> Container | None:
        """The container of an id. Raises OSError when Podman fails or does not answer."""
        if not _ID.fullmatch(container):
            return None
        if container not in self._known:
            try:
                async with _in_time(PATIENCE, self._command("generate spec")):
                    return await self._find(container)
            except OSError:
                if container not in self._known:  # an event told of it meanwhile
                    raise
        return self._known[container]

    async def _find(self, container: str) -> Container | None:
        words = ("generate", "spec", "--compact", "--name=false", container)
        status, said, complaint = await self._run(*words)
        if status == 0:
            spec = self._read(said)
            return _container(container, spec.get("name"), spec.get("labels"), spec.get("pod"))
        if (await self._run("container", "exists", container))[0] == 1:
            return None
        raise OSError(errno.EIO, f"{self._command('generate spec')} failed: {complaint}")

    async def watch(self) -> AsyncIterator[News]:
        """Every container once, then those that are made and removed; all again after a break."""
        pause = _FIRST_PAUSE
        while True:
            begun = time.monotonic()
            try:
                async for news in self._told():
                    yield news
                reason = f"{self._command('events')} has ended"
            except OSError as error:
                reason = error.strerror or str(error)
            if reason != self.problem:
                log.warning("containers of Podman are not followed: %s", reason)
            self.problem = reason
            if time.monotonic() - begun > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _told(self) -> AsyncIterator[News]:
        async with self._process(*_WITH_US, self.address, "events", "--format", "json", *_EVENTS) as events:
            assert events.stdout is not None
            # Those that are made before events are told of are missing in both. They are found by asking.
            # Who is missing in the list need not be gone: storage may be, for a while. Only events say so.
            self._known = {each.id: each for each in await self._list()}
            for each in tuple(self._known.values()):
                yield each
            if self.problem is not None:
                log.info("following containers of %s", self.address)
            self.problem = None
            complaint = ""
            while line := await self._line(events.stdout):
                if not line.startswith(b"{"):
                    complaint = line.decode(errors="replace").strip()
                    continue
                event = self._read(line)
                if event.get("Status") == "remove":
                    self._known.pop(event["ID"], None)
                    # A Podman that was killed while it added the container does not know that it did.
                    yield Removed(event["ID"])
                    continue
                labels, pod = event.get("Attributes"), event.get("PodID")
                made = _container(event["ID"], event.get("Name"), labels, pod)
                self._known[made.id] = made
                yield made
            if complaint:
                raise OSError(errno.EIO, f"{self._command('events')}: {complaint}")

    async def _list(self) -> list[Container]:
        async with _in_time(_LONG, self._command("ps")):
            status, said, complaint = await self._run("ps", "--all", "--format", "json")
        if status != 0:
            raise OSError(errno.EIO, f"{self._command('ps')} failed: {complaint}")
        return [
            _container(each["Id"], each["Names"][0], each.get("Labels"), each.get("Pod"))
            for each in self._read(said)
        ]

    # The program

    def _command(self, verb: str) -> str:
        return f"{self.address} {verb}"

    async def _run(self, *words: str) -> tuple[int, bytes, str]:
        """Exit status, standard output, and the last line on standard error."""
        async with self._process(self.address, *words, stderr=PIPE) as process:
            said, complaints = await process.communicate()
            assert process.returncode is not None
        return process.returncode, said, complaints.decode(errors="replace").strip().rpartition("\n")[2]

    @asynccontextmanager
    async def _process(self, *command: str, stderr: int = STDOUT) -> AsyncIterator[Process]:
        """A command that ends with the block. Raises OSError when it cannot be run."""
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=DEVNULL, stdout=PIPE, stderr=stderr, limit=_LONGEST_EVENT
            )
        except OSError as error:
            raise type(error)(error.errno, f"cannot run {command[0]}: {error.strerror}") from error
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            await process.wait()

    async def _line(self, stream: asyncio.StreamReader) -> bytes:
        try:
            return await stream.readline()
        except ValueError as error:
            message = f"{self._command('events')} told something of more than {_LONGEST_EVENT} bytes"
            raise OSError(errno.EMSGSIZE, message) from error

    def _read(self, said: bytes) -> Any:
        try:
            return json.loads(said)
        except ValueError as error:
            raise OSError(errno.EPROTO, f"{self.address} answered no JSON: {error}") from error


@asynccontextmanager
async def _in_time(seconds: float, command: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise OSError(errno.ETIMEDOUT, f"{command} did not answer within {seconds:.0f} s") from error


def _container(
    container: str, name: str | None, labels: Mapping[str, str] | None, pod: str | None
) -> Container:
    """Of a pod, only the infra container is added to networks, and it has the pod's labels."""
    kept = {key: value for key, value in (labels or {}).items() if not key.startswith(_BOOKKEEPING)}
    return Container(container, name or container, kept, K8S if pod else CONTAINER)
