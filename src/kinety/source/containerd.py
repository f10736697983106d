"""Containers of containerd: what labels they have, and when those change.

containerd keeps containers in *namespaces*. CNI knows nothing of these, so whoever calls a plugin makes one
name of both: ``ctr`` and ``nerdctl`` write ``NAMESPACE-ID``, and the CRI plugin, whose containers are all in
``k8s.io``, the id alone. Both may have dashes in them, so such a name is looked up in every way it can be
read.
"""

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager

from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from kinety.model.label import CONTAINER, K8S
from kinety.source import containerd_api
from kinety.source.containerd_api import Api, ContainerEvent, SubscribeRequest
from kinety.source.runtime import PATIENCE, Container

log = logging.getLogger(__name__)

#: The namespace of containers that Kubernetes runs, through the CRI plugin.
_KUBERNETES = "k8s.io"
_KIND, _SANDBOX = "io.cri-containerd.kind", "sandbox"
_POD_NAME = "io.kubernetes.pod.name"
#: What containerd, its plugins and the kubelet note for themselves. A pod's uid is among it.
_BOOKKEEPING = ("containerd.io/", "io.containerd.", "io.cri-containerd.", "io.kubernetes.", "nerdctl/")
_EVENTS = ('topic=="/containers/create"', 'topic=="/containers/update"')
#: Seconds from a lost connection to the next attempt: the first time, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


class Containerd:
    """``kinety.source.runtime.Runtime`` for containerd."""

    name = "containerd"

    def __init__(self, address: str) -> None:
        """``address`` is the path of its socket. Nothing is connected yet."""
        self.address = address
        self.problem: str | None = "not connected yet"

    async def find(self, container: str) -> Container | None:
        """The container that CNI calls so. Raises OSError when containerd does not answer.

        Also when two are called so: nobody can tell which of them is meant.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                with self._connected() as api:
                    return await _find(api, container)
        except TimeoutError as error:
            message = f"containerd on {self.address} did not answer within {PATIENCE:.0f} s"
            raise OSError(errno.ETIMEDOUT, message) from error

    async def watch(self) -> AsyncIterator[Container]:
        """Every container once, then those that are new or have other labels; all again after a break."""
        pause = _FIRST_PAUSE
        while True:
            try:
                with self._connected() as api:
                    async for container in self._told(api):
                        pause = _FIRST_PAUSE
                        yield container
                reason = f"containerd on {self.address} has ended"
            except OSError as error:
                reason = error.strerror or str(error)
            if reason != self.problem:
                log.warning("labels of containers are not followed: %s", reason)
            self.problem = reason
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _told(self, api: Api) -> AsyncIterator[Container]:
        async with api.events() as events:
            await events.send_message(SubscribeRequest(filters=list(_EVENTS)), end=True)
            # Listed by requests after that one, so that nothing is missed between.
            for namespace in await api.namespaces():
                async for found in api.containers(namespace):
                    for told in _named(namespace, found):
                        yield told
            if self.problem is not None:
                log.info("following labels of containers on %s", self.address)
            self.problem = None
            async for envelope in events:
                if envelope.event is None:
                    continue
                changed = ContainerEvent.parse(envelope.event.value)
                for name in _names(envelope.namespace, changed.id):
                    try:
                        # As it is now: events may be late, and do not all carry labels.
                        container = await _find(api, name)
                    except FileExistsError as error:
                        log.warning("a change of labels is not followed: %s", error.strerror)
                        continue
                    if container is not None:
                        yield container

    @contextmanager
    def _connected(self) -> Iterator[Api]:
        """Requests on a connection of their own; OSError for whatever goes wrong with it."""
        channel = Channel(path=self.address)
        try:
            yield Api(channel)
        except TimeoutError:
            raise
        except (GRPCError, ProtocolError, StreamTerminatedError) as error:
            said = error.message if isinstance(error, GRPCError) else str(error)
            raise OSError(errno.EPROTO, f"containerd on {self.address}: {said}") from error
        except OSError as error:
            raise type(error)(
                error.errno, f"containerd on {self.address}: {error.strerror or error}"
            ) from error
        finally:
            channel.close()


async def _find(api: Api, name: str) -> Container | None:
    """The container of a name of CNI's. Raises FileExistsError when there are two."""
    found = {}
    for namespace, container in _readings(name, await api.namespaces()):
        try:
            answer = await api.container(namespace, container)
        except GRPCError as error:
            if error.status not in (Status.NOT_FOUND, Status.INVALID_ARGUMENT):
                raise
            continue
        if answer is not None:
            found[f"{container} of the namespace {namespace}"] = _container(name, namespace, answer)
    if len(found) > 1:
        raise FileExistsError(errno.EEXIST, f"{name} is the name of two containers: {', '.join(found)}")
    return next(iter(found.values()), None)


def _readings(name: str, namespaces: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Namespaces and containers' ids that a name of CNI's may mean."""
    for namespace in namespaces:
        if namespace == _KUBERNETES:
            yield namespace, name
        if name.startswith(f"{namespace}-"):
            yield namespace, name.removeprefix(f"{namespace}-")


def _names(namespace: str, container: str) -> tuple[str, ...]:
    """What CNI may call a container."""
    joined = f"{namespace}-{container}"
    return (container, joined) if namespace == _KUBERNETES else (joined,)


def _named(namespace: str, found: containerd_api.Container) -> Iterator[Container]:
    return (_container(name, namespace, found) for name in _names(namespace, found.id))


def _container(name: str, namespace: str, found: containerd_api.Container) -> Container:
    labels = {key: value for key, value in found.labels.items() if not key.startswith(_BOOKKEEPING)}
    is_pod = namespace == _KUBERNETES and found.labels.get(_KIND) == _SANDBOX
    return Container(name, found.labels.get(_POD_NAME, found.id), labels, K8S if is_pod else CONTAINER)
