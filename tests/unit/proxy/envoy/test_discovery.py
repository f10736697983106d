"""The server that tells Envoy what to do, spoken to as Envoy does: over a socket, in gRPC."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.service.discovery.v3 import discovery_pb2
from grpclib.client import Channel, Stream, StreamStreamMethod

from kinety.proxy.envoy.channel import channel
from kinety.proxy.envoy.delivery import Delivery
from kinety.proxy.envoy.discovery import Discovery
from kinety.proxy.envoy.resource import LISTENER_TYPE, ROUTE_TYPE, Resource
from kinety.proxy.error import ProxyError

SECONDS = 10.0
SHORT = 0.05
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
Request, Response = discovery_pb2.DeltaDiscoveryRequest, discovery_pb2.DeltaDiscoveryResponse


def listener(prefix: str = "") -> Resource:
    return Resource.of(listener_pb2.Listener(stat_prefix=prefix))


def routes(name: str = "") -> Resource:
    return Resource.of(route_pb2.RouteConfiguration(name=name))


class Peer:
    """Envoy's end of the stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def say(self, type: str = LISTENER_TYPE, **fields: object) -> None:
        await self._stream.send_message(Request(type_url=type, **fields))

    async def hear(self) -> discovery_pb2.DeltaDiscoveryResponse:
        async with asyncio.timeout(SECONDS):
            found = await self._stream.recv_message()
        assert found is not None
        return found

    async def agree(self) -> discovery_pb2.DeltaDiscoveryResponse:
        """Hear and confirm."""
        found = await self.hear()
        await self.say(found.type_url, response_nonce=found.nonce)
        return found

    async def refuse(self, why: str) -> discovery_pb2.DeltaDiscoveryResponse:
        """Hear and refuse."""
        found = await self.hear()
        request = Request(type_url=found.type_url, response_nonce=found.nonce)
        request.error_detail.message = why
        await self._stream.send_message(request)
        return found

    async def silence(self) -> bool:
        """Whether nothing is said for a moment."""
        try:
            async with asyncio.timeout(SHORT):
                await self._stream.recv_message()
        except TimeoutError:
            return True
        return False


def names(response: discovery_pb2.DeltaDiscoveryResponse) -> tuple[list[str], list[str]]:
    return sorted(each.name for each in response.resources), sorted(response.removed_resources)


@asynccontextmanager
async def served(path: Path, discovery: Discovery) -> AsyncIterator[None]:
    async with channel(path / "s", os.geteuid(), [discovery]):
        yield


@asynccontextmanager
async def conversation(path: Path) -> AsyncIterator[Peer]:
    client = Channel(path=str(path / "s"))
    try:
        async with StreamStreamMethod(client, METHOD, Request, Response).open() as stream:
            yield Peer(stream)
            await stream.cancel()
    finally:
        client.close()


@asynccontextmanager
async def acquainted(path: Path, discovery: Discovery) -> AsyncIterator[Peer]:
    """An Envoy that has asked for listeners and has them."""
    async with served(path, discovery), conversation(path) as peer:
        await peer.say()
        await peer.agree()
        yield peer


async def _nothing(names: object) -> None:
    pass


def delivery(discovery: Discovery, patience: float = SECONDS) -> Delivery:
    return Delivery(discovery, patience, _nothing, lambda: "it sleeps")


def change(name: str, resource: Resource | None) -> dict[str, dict[str, Resource | None]]:
    return {LISTENER_TYPE: {name: resource}, ROUTE_TYPE: {}}


def test_a_new_envoy_gets_everything_and_then_differences(tmp_path: Path) -> None:
    async def main() -> None:
        discovery = Discovery()
        discovery.want(LISTENER_TYPE, {"a": listener(), "b": listener()})
        async with served(tmp_path, discovery), conversation(tmp_path) as peer:
            await peer.say()
            assert names(await peer.agree()) == (["a", "b"], [])
            discovery.want(LISTENER_TYPE, {"a": listener("x"), "b": None, "c": listener()})
            await discovery.tell()
            assert names(await peer.agree()) == (["a", "c"], ["b"])
            await discovery.confirmed(["a", "b", "c"])
            await discovery.tell()
            assert await peer.silence()
            assert discovery.responses == 2

    asyncio.run(main())


def test_an_envoy_that_has_everything_is_told_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        discovery = Discovery()
        discovery.want(LISTENER_TYPE, {"a": listener()})
        discovery.want(ROUTE_TYPE, {"a": routes()})
        async with served(tmp_path, discovery), conversation(tmp_path) as peer:
            await peer.say(initial_resource_versions={"a": listener().version})
            await peer.say(
                ROUTE_TYPE, resource_names_subscribe=["a"], initial_resource_versions={"a": routes().version}
            )
            await discovery.confirmed(["a"])
            assert await peer.silence()
            assert discovery.responses == 0

    asyncio.run(main())


def test_an_envoy_that_has_something_else_is_told_the_difference(tmp_path: Path) -> None:
    async def main() -> None:
        discovery = Discovery()
        discovery.want(LISTENER_TYPE, {"a": listener(), "b": listener()})
        async with served(tmp_path, discovery), conversation(tmp_path) as peer:
            has = {"a": listener().version, "b": "old", "gone": listener().version}
            await peer.say(initial_resource_versions=has)
            assert names(await peer.agree()) == (["b"], ["gone"])

    asyncio.run(main())


def test_an_envoy_with_nothing_to_do_is_told_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path, Discovery()), conversation(tmp_path) as peer:
            await peer.say()
            assert names(await peer.agree()) == ([], [])

    asyncio.run(main())


def test_routes_are_told_to_who_asks_and_never_removed(tmp_path: Path) -> None:
    async def main() -> None:
        discovery = Discovery()
        discovery.want(ROUTE_TYPE, {"a": routes("a"), "b": routes("b")})
        async with served(tmp_path, discovery), conversation(tmp_path) as peer:
            await peer.say(ROUTE_TYPE, resource_names_subscribe=["b"])
            assert names(await peer.agree()) == (["b"], [])
            discovery.want(ROUTE_TYPE, {"b": None})
            await discovery.tell()
            assert await peer.silence()

    asyncio.run(main())


def test_who_asks_again_is_answered_again(tmp_path: Path) -> None:
    async def main() -> None:
        discovery = Discovery()
        discovery.want(ROUTE_TYPE, {"a": routes()})
        async with served(tmp_path, discovery), conversation(tmp_path) as peer:
            await peer.say(ROUTE_TYPE, resource_names_subscribe=["a"])
            await peer.agree()
            await peer.say(ROUTE_TYPE, resource_names_unsubscribe=["a"])
            await peer.say(ROUTE_TYPE, resource_names_subscribe=["a"])
            assert names(await peer.agree()) == (["a"], [])

    asyncio.run(main())


def test_a_change_that_is_refused_is_taken_back(tmp_path: Path) -> None:
    async def main() -> None:
        discovery = Discovery()
        discovery.want(LISTENER_TYPE, {"old": listener()})
        async with acquainted(tmp_path, discovery) as peer:
            both = {LISTENER_TYPE: {"old": listener("x"), "new": listener()}}
            putting = asyncio.create_task(delivery(discovery).deliver(both))
            await peer.refuse("no such thing")
            assert names(await peer.agree()) == (["old"], ["new"])
            with pytest.raises(ProxyError, match=r"^Envoy refuses: no such thing$"):
                await putting
            assert discovery.wanted(LISTENER_TYPE, "old") == listener()
            assert discovery.wanted(LISTENER_TYPE, "new") is None

    asyncio.run(main())


def test_changes_that_wait_go_together_and_fail_alone(tmp_path: Path) -> None:
    async def main() -> None:
        discovery = Discovery()
        async with acquainted(tmp_path, discovery) as peer:
            delivering = delivery(discovery)
            tasks = [
                asyncio.create_task(delivering.deliver(change(name, listener())))
                for name in ("first", "good", "bad", "fine")
            ]
            # The first goes alone, because it found nobody waiting.
            assert names(await peer.agree()) == (["first"], [])
            assert names(await peer.refuse("bad it is")) == (["bad", "fine", "good"], [])
            assert names(await peer.agree()) == ([], ["bad", "fine", "good"])
            assert names(await peer.agree()) == (["good"], [])
            await peer.refuse("bad it is")
            assert names(await peer.agree()) == ([], ["bad"])
            assert names(await peer.agree()) == (["fine"], [])
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [str(each) if each else None for each in results] == [
                None,
                None,
                "Envoy refuses: bad it is",
                None,
            ]

    asyncio.run(main())


def test_a_change_that_takes_too_long_is_taken_back(tmp_path: Path) -> None:
    async def main() -> None:
        discovery = Discovery()
        async with acquainted(tmp_path, discovery):
            with pytest.raises(ProxyError, match=r"did not take the change within 0\.05 s"):
                await delivery(discovery, SHORT).deliver(change("a", listener()))
            assert discovery.wanted(LISTENER_TYPE, "a") is None

    asyncio.run(main())


def test_without_an_envoy_a_change_is_refused_by_name(tmp_path: Path) -> None:
    async def main() -> None:
        discovery = Discovery()
        async with served(tmp_path, discovery):
            with pytest.raises(ProxyError, match="Envoy is not there: it sleeps"):
                await delivery(discovery, SHORT).deliver(change("a", listener()))

    asyncio.run(main())


def test_a_change_waits_for_an_envoy_that_comes(tmp_path: Path) -> None:
    async def main() -> None:
        discovery = Discovery()
        async with served(tmp_path, discovery):
            putting = asyncio.create_task(delivery(discovery).deliver(change("a", listener())))
            async with conversation(tmp_path) as peer:
                await peer.say()
                assert names(await peer.agree()) == (["a"], [])
                await putting

    asyncio.run(main())


def test_whoever_is_cancelled_leaves_the_others_alone(tmp_path: Path) -> None:
    async def main() -> None:
        discovery = Discovery()
        async with acquainted(tmp_path, discovery) as peer:
            delivering = delivery(discovery)
            first, second = (
                asyncio.create_task(delivering.deliver(change(name, listener()))) for name in ("a", "b")
            )
            assert names(await peer.hear()) == (["a"], [])
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert names(await peer.agree()) == ([], ["a"])
            assert names(await peer.agree()) == (["b"], [])
            await second
            assert discovery.wanted(LISTENER_TYPE, "a") is None

    asyncio.run(main())


def test_the_socket_is_one_users_and_closes_with_its_connections(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path, Discovery()):
            assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
            reading, writing = await asyncio.open_unix_connection(str(tmp_path / "s"))
            # The server's first words in HTTP/2.
            assert await reading.read(1)
        async with asyncio.timeout(SECONDS):
            await reading.read()
        writing.close()

    asyncio.run(main())
