"""As much of containerd's API as is asked: services, and of their messages the fields that are read.

gRPC on a unix socket. What a message has beside these fields is skipped, as protobuf does.
Source: containerd, ``api/services/{containers,events,namespaces}/v1`` and ``api/events``.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import betterproto2
from betterproto2.grpclib import ServiceStub
from grpclib.client import Channel, Stream
from grpclib.const import Cardinality

#: The namespace that a request is about, as gRPC's metadata.
_NAMESPACE = "containerd-namespace"


@dataclass(eq=False, repr=False)
class Container(betterproto2.Message):
    """A container, running or not."""

    id: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    labels: "dict[str, str]" = betterproto2.field(
        2,
        betterproto2.TYPE_MAP,
        map_meta=betterproto2.map_meta(betterproto2.TYPE_STRING, betterproto2.TYPE_STRING),
    )


@dataclass(eq=False, repr=False)
class GetContainerRequest(betterproto2.Message):
    """By its id."""

    id: str = betterproto2.field(1, betterproto2.TYPE_STRING)


@dataclass(eq=False, repr=False)
class ListContainersRequest(betterproto2.Message):
    """Without filters: every one of the namespace."""

    filters: "list[str]" = betterproto2.field(1, betterproto2.TYPE_STRING, repeated=True)


@dataclass(eq=False, repr=False)
class ContainerAnswer(betterproto2.Message):
    """The answer to a get, and one item of a list."""

    container: "Container | None" = betterproto2.field(1, betterproto2.TYPE_MESSAGE, optional=True)


@dataclass(eq=False, repr=False)
class Namespace(betterproto2.Message):
    """What keeps the containers of containerd's users apart."""

    name: str = betterproto2.field(1, betterproto2.TYPE_STRING)


@dataclass(eq=False, repr=False)
class ListNamespacesRequest(betterproto2.Message):
    """Without a filter: all."""

    filter: str = betterproto2.field(1, betterproto2.TYPE_STRING)


@dataclass(eq=False, repr=False)
class ListNamespacesResponse(betterproto2.Message):
    """All at once."""

    namespaces: "list[Namespace]" = betterproto2.field(1, betterproto2.TYPE_MESSAGE, repeated=True)


@dataclass(eq=False, repr=False)
class SubscribeRequest(betterproto2.Message):
    """Events that match one of the filters, of all namespaces."""

    filters: "list[str]" = betterproto2.field(1, betterproto2.TYPE_STRING, repeated=True)


@dataclass(eq=False, repr=False)
class ContainerEvent(betterproto2.Message):
    """``ContainerCreate`` and ``ContainerUpdate``, as far as they are alike."""

    id: str = betterproto2.field(1, betterproto2.TYPE_STRING)


@dataclass(eq=False, repr=False)
class Payload(betterproto2.Message):
    """``google.protobuf.Any``."""

    type_url: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    value: bytes = betterproto2.field(2, betterproto2.TYPE_BYTES)


@dataclass(eq=False, repr=False)
class Envelope(betterproto2.Message):
    """One event."""

    namespace: str = betterproto2.field(2, betterproto2.TYPE_STRING)
    topic: str = betterproto2.field(3, betterproto2.TYPE_STRING)
    event: "Payload | None" = betterproto2.field(4, betterproto2.TYPE_MESSAGE, optional=True)


class Api(ServiceStub):
    """The requests. Each raises OSError, or what grpclib raises."""

    async def namespaces(self) -> list[str]:
        """The names of all namespaces."""
        answer = await self._unary_unary(
            "/containerd.services.namespaces.v1.Namespaces/List",
            ListNamespacesRequest(),
            ListNamespacesResponse,
        )
        return [each.name for each in answer.namespaces]

    async def container(self, namespace: str, container: str) -> Container | None:
        """One container of a namespace."""
        answer = await self._unary_unary(
            "/containerd.services.containers.v1.Containers/Get",
            GetContainerRequest(id=container),
            ContainerAnswer,
            metadata={_NAMESPACE: namespace},
        )
        return answer.container

    async def containers(self, namespace: str) -> AsyncIterator[Container]:
        """Every container of a namespace. One by one, because they may be more than a message holds."""
        answers = self._unary_stream(
            "/containerd.services.containers.v1.Containers/ListStream",
            ListContainersRequest(),
            ContainerAnswer,
            metadata={_NAMESPACE: namespace},
        )
        async for answer in answers:
            if answer.container is not None:
                yield answer.container

    def events(self) -> Stream[SubscribeRequest, Envelope]:
        """A stream of events, once it is sent a request."""
        channel: Channel = self.channel
        return channel.request(
            "/containerd.services.events.v1.Events/Subscribe",
            Cardinality.UNARY_STREAM,
            SubscribeRequest,
            Envelope,
        )
