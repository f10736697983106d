"""What becomes of a containerd that is not there, silent, or confused; a real one is asked in tests/e2e."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream

from kinety.source import containerd, containerd_api
from kinety.source.containerd import Containerd
from kinety.source.containerd_api import (
    ContainerAnswer,
    ContainerEvent,
    Envelope,
    GetContainerRequest,
    ListContainersRequest,
    ListNamespacesRequest,
    ListNamespacesResponse,
    Namespace,
    Payload,
    SubscribeRequest,
)
from kinety.source.runtime import Container

WEB = {"app": "web"}


class FakeContainerd:
    """Containers by namespace and id, served as containerd does."""

    def __init__(self, **namespaces: dict[str, dict[str, str]]) -> None:
        self.namespaces = {name.replace("_", "-"): own for name, own in namespaces.items()}
        self.asked: list[str] = []
        self.refusal: GRPCError | None = None
        self._streams: list[asyncio.Queue[Envelope]] = []

    async def list_namespaces(self, stream: "Stream[ListNamespacesRequest, ListNamespacesResponse]") -> None:
        await stream.recv_message()
        if self.refusal is not None:
            raise self.refusal
        found = [Namespace(name=name) for name in self.namespaces]
        await stream.send_message(ListNamespacesResponse(namespaces=found))

    async def get(self, stream: "Stream[GetContainerRequest, ContainerAnswer]") -> None:
        request = await stream.recv_message()
        assert request is not None
        namespace = str((stream.metadata or {})["containerd-namespace"])
        self.asked.append(f"{namespace}/{request.id}")
        own = self.namespaces[namespace]
        if request.id not in own:
            raise GRPCError(Status.NOT_FOUND, "no such container")
        await stream.send_message(ContainerAnswer(container=_container(request.id, own[request.id])))

    async def list(self, stream: "Stream[ListContainersRequest, ContainerAnswer]") -> None:
        await stream.recv_message()
        namespace = str((stream.metadata or {})["containerd-namespace"])
        for name, labels in self.namespaces[namespace].items():
            await stream.send_message(ContainerAnswer(container=_container(name, labels)))

    async def subscribe(self, stream: "Stream[SubscribeRequest, Envelope]") -> None:
        await stream.recv_message()
        self._streams.append(asyncio.Queue())
        events = self._streams[-1]
        while True:
            await stream.send_message(await events.get())

    def label(self, namespace: str, name: str, labels: dict[str, str]) -> None:
        """Change labels, and tell those who listen."""
        self.namespaces[namespace][name] = labels
        payload = Payload(type_url="containerd.events.ContainerUpdate", value=bytes(ContainerEvent(id=name)))
        for stream in self._streams:
            stream.put_nowait(Envelope(namespace=namespace, topic="/containers/update", event=payload))

    def __mapping__(self) -> Mapping[str, Handler]:
        one, many = Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM
        services = "/containerd.services"
        return {
            f"{services}.namespaces.v1.Namespaces/List": Handler(
                self.list_namespaces, one, ListNamespacesRequest, ListNamespacesResponse
            ),
            f"{services}.containers.v1.Containers/Get": Handler(
                self.get, one, GetContainerRequest, ContainerAnswer
            ),
            f"{services}.containers.v1.Containers/ListStream": Handler(
                self.list, many, ListContainersRequest, ContainerAnswer
            ),
            f"{services}.events.v1.Events/Subscribe": Handler(
                self.subscribe, many, SubscribeRequest, Envelope
            ),
        }

    @asynccontextmanager
    async def served(self, path: Path) -> AsyncIterator[None]:
        """While the block runs."""
        server = Server([self])
        await server.start(path=str(path))
        try:
            yield
        finally:
            server.close()
            await server.wait_closed()


def _container(name: str, labels: dict[str, str]) -> containerd_api.Container:
    return containerd_api.Container(id=name, labels=labels)


def asked(fake: FakeContainerd, path: Path, use: Callable[[Containerd], Awaitable[object]]) -> object:
    """What comes of a use of containerd while the fake is served."""

    async def run() -> object:
        async with asyncio.timeout(10), fake.served(path):
            return await use(Containerd(str(path)))

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("default-web", Container("default-web", "web", WEB)),
        ("a-b-c", Container("a-b-c", "b-c", {"of": "a"})),
        ("k8s.io-pod", Container("k8s.io-pod", "web-1", WEB, "k8s")),
        ("pod", Container("pod", "web-1", WEB, "k8s")),
        ("default-nobody", None),
        ("nobody", None),
        ("web", None),
    ],
)
def test_a_container_is_found_by_the_name_that_cni_has_for_it(
    tmp_path: Path, name: str, found: Container | None
) -> None:
    books = {"io.kubernetes.pod.name": "web-1", "io.cri-containerd.kind": "sandbox", "nerdctl/networks": "x"}
    fake = FakeContainerd(default={"web": WEB}, a={"b-c": {"of": "a"}})
    fake.namespaces["a-b"] = {}
    fake.namespaces["k8s.io"] = {"pod": WEB | books}
    assert asked(fake, tmp_path / "s", lambda client: client.find(name)) == found


def test_a_name_of_two_containers_is_nobodys(tmp_path: Path) -> None:
    fake = FakeContainerd(a={"b-c": {}}, a_b={"c": {}})
    with pytest.raises(OSError, match="a-b-c is the name of two containers: b-c of the namespace a, c of"):
        asked(fake, tmp_path / "s", lambda client: client.find("a-b-c"))


def test_a_refusal_says_what_containerd_said(tmp_path: Path) -> None:
    fake = FakeContainerd()
    fake.refusal = GRPCError(Status.PERMISSION_DENIED, "not for you")
    with pytest.raises(OSError, match=r"containerd on .*/s: not for you"):
        asked(fake, tmp_path / "s", lambda client: client.find("default-web"))


def test_nobody_and_somebody_silent_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containerd, "PATIENCE", 0.05)

    async def use() -> None:
        path = tmp_path / "s"
        with pytest.raises(FileNotFoundError, match=rf"containerd on {path}: No such file"):
            await Containerd(str(path)).find("default-web")
        held = asyncio.Event()

        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await held.wait()
            writer.close()

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_unix_server(say_nothing, path):
            with pytest.raises(TimeoutError, match="did not answer within"):
                await Containerd(str(path)).find("default-web")
            held.set()
        path.unlink(missing_ok=True)
        async with await asyncio.start_unix_server(hang_up, path):
            with pytest.raises(OSError, match="containerd on"):
                await Containerd(str(path)).find("default-web")

    asyncio.run(use())


class Watching:
    """What a watch tells."""

    def __init__(self, client: Containerd) -> None:
        self._told: asyncio.Queue[Container] = asyncio.Queue()
        self._task = asyncio.create_task(self._watch(client))

    async def _watch(self, client: Containerd) -> None:
        async for container in client.watch():
            self._told.put_nowait(container)

    async def next(self, seconds: float = 5.0) -> Container:
        return await asyncio.wait_for(self._told.get(), seconds)

    async def end(self) -> None:
        self._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._task


def test_a_watch_tells_all_and_then_what_changes(tmp_path: Path) -> None:
    async def use(client: Containerd) -> None:
        assert client.problem == "not connected yet"
        watching = Watching(client)
        assert await watching.next() == Container("default-web", "web", WEB)
        fake.label("default", "web", {"app": "db"})
        assert await watching.next() == Container("default-web", "web", {"app": "db"})
        assert client.problem is None
        fake.namespaces["k8s.io"] = {}
        fake.label("k8s.io", "pod", WEB)
        assert [(await watching.next()).id for _ in range(2)] == ["pod", "k8s.io-pod"]
        await watching.end()

    fake = FakeContainerd(default={"web": WEB})
    asked(fake, tmp_path / "s", use)


def test_a_watch_begins_when_containerd_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def use() -> None:
        path = tmp_path / "s"
        client = Containerd(str(path))
        watching = Watching(client)
        with pytest.raises(TimeoutError):
            await watching.next(0.3)
        assert str(client.problem).startswith(f"containerd on {path}: No such file")
        async with FakeContainerd(default={"web": WEB}).served(path):
            assert await watching.next() == Container("default-web", "web", WEB)
        await watching.end()

    asyncio.run(asyncio.wait_for(use(), 20))
    assert caplog.text.count("labels of containers are not followed") == 1, "not once an attempt"


def test_a_change_of_a_name_of_two_is_not_followed_and_others_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(client: Containerd) -> None:
        watching = Watching(client)
        for _ in range(3):
            await watching.next()
        fake.label("a", "b-c", {"x": "y"})
        fake.label("a", "d", {"x": "y"})
        assert await watching.next() == Container("a-d", "d", {"x": "y"})
        await watching.end()

    fake = FakeContainerd(a={"b-c": {}, "d": {}}, a_b={"c": {}})
    asked(fake, tmp_path / "s", use)
    assert "a-b-c is the name of two containers" in caplog.text
