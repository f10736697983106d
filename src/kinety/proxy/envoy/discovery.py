"""The server that tells Envoy what to do: xDS, incremental, all types on one stream, on a unix socket.

It knows what is wanted, and of the stream what Envoy has and has confirmed. Whatever differs is sent, and
nothing else: an Envoy that kept its configuration while the agent was away says so when it comes back, by the
versions it has, and is told nothing.

Source: "xDS REST and gRPC protocol", Incremental xDS, in Envoy's documentation.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from envoy.service.discovery.v3 import discovery_pb2
from grpclib.const import Cardinality, Handler
from grpclib.exceptions import ProtocolError, StreamTerminatedError
from grpclib.server import Stream

from kinety.proxy.envoy.resource import LISTENER_TYPE, TYPES, Resource

log = logging.getLogger(__name__)

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_EVERY = "*"

_Request: TypeAlias = discovery_pb2.DeltaDiscoveryRequest
_Response: TypeAlias = discovery_pb2.DeltaDiscoveryResponse
_Stream = Stream[_Request, _Response]


@dataclass(slots=True)
class _Subscription:
    """What Envoy asks for of one type, and what it was told and has confirmed, as versions by name."""

    names: set[str] = field(default_factory=set)
    told: dict[str, str] = field(default_factory=dict)
    confirmed: dict[str, str] = field(default_factory=dict)

    def wants(self, name: str) -> bool:
        return name in self.names or _EVERY in self.names


@dataclass(slots=True)
class _Conversation:
    """One stream of Envoy's."""

    stream: _Stream
    subscriptions: dict[str, _Subscription] = field(default_factory=dict)
    #: Versions of what each unconfirmed response holds, by its nonce; "" of what it removes.
    open: dict[str, dict[str, str]] = field(default_factory=dict)


class Discovery:
    """The resources wanted, by type and name, and the stream of the Envoy that gets them."""

    def __init__(self) -> None:
        self._wanted: dict[str, dict[str, Resource]] = {type: {} for type in TYPES}
        self._conversation: _Conversation | None = None
        self._sending = asyncio.Lock()
        self._heard = asyncio.Event()
        self._refusal: str | None = None
        #: Numbers of responses: of the last one, and of the last before the change that is being told.
        self._number = self._before = 0
        #: Responses sent since the start.
        self.responses = 0

    @property
    def connected(self) -> bool:
        """Whether an Envoy listens."""
        return self._conversation is not None

    def __mapping__(self) -> dict[str, Handler]:
        """What grpclib serves."""
        return {_METHOD: Handler(self._converse, Cardinality.STREAM_STREAM, _Request, _Response)}

    def wanted(self, type: str, name: str) -> Resource | None:
        """What is wanted of a name."""
        return self._wanted[type].get(name)

    def want(self, type: str, changes: Mapping[str, Resource | None]) -> None:
        """Want other resources from now on; None is to be removed. Nothing is sent yet."""
        for name, resource in changes.items():
            if resource is None:
                self._wanted[type].pop(name, None)
            else:
                self._wanted[type][name] = resource

    async def tell(self) -> None:
        """Send what differs between what is wanted and what Envoy was told. Forget what it refused before."""
        self._refusal, self._before = None, self._number
        await self._tell(TYPES)

    async def confirmed(self, names: Iterable[str]) -> None:
        """Wait until Envoy has all that is wanted of some names. Raises ValueError in its words."""
        names = tuple(names)
        while not all(self._is_confirmed(name) for name in names):
            if self._refusal is not None:
                raise ValueError(self._refusal)
            self._heard.clear()
            await self._heard.wait()

    def _is_confirmed(self, name: str) -> bool:
        return all(
            self._has(type, name) == (resource.version if resource else "")
            for type, resource in ((type, self.wanted(type, name)) for type in TYPES)
            # Routes that nobody asks for any more go when Envoy says so.
            if resource is not None or type == LISTENER_TYPE
        )

    def _has(self, type: str, name: str) -> str | None:
        """The version Envoy has confirmed of a name; "" for none of it, None when there is no Envoy."""
        if self._conversation is None or type not in self._conversation.subscriptions:
            return None
        return self._conversation.subscriptions[type].confirmed.get(name, "")

    async def _converse(self, stream: _Stream) -> None:
        conversation = _Conversation(stream)
        self._conversation = conversation
        log.info("Envoy is here")
        try:
            async for request in stream:
                self._hear(conversation, request)
                await self._tell((request.type_url,), first=not request.response_nonce)
        finally:
            if self._conversation is conversation:
                self._conversation = None
                log.info("Envoy is gone")

    def _hear(self, conversation: _Conversation, request: _Request) -> None:
        """Take in what Envoy asks for, has, confirms and refuses."""
        type = request.type_url
        subscription = conversation.subscriptions.get(type)
        if subscription is None:
            has = dict(request.initial_resource_versions)
            names = set(request.resource_names_subscribe) or {_EVERY}
            conversation.subscriptions[type] = _Subscription(names, has, dict(has))
        else:
            for name in request.resource_names_subscribe:
                subscription.names.add(name)
                # Whoever asks again wants an answer, known or not.
                subscription.told.pop(name, None)
            for name in request.resource_names_unsubscribe:
                subscription.names.discard(name)
                subscription.told.pop(name, None)
                subscription.confirmed.pop(name, None)
        answered = conversation.open.pop(request.response_nonce, None)
        if answered is not None:
            refusal = request.error_detail.message
            self._answered(conversation.subscriptions[type], answered, refusal)
            if refusal and int(request.response_nonce) > self._before:
                self._refusal = refusal
        self._heard.set()

    def _answered(self, subscription: _Subscription, answered: Mapping[str, str], refusal: str) -> None:
        if refusal:
            log.warning("Envoy refuses: %s", refusal)
            return
        for name, version in answered.items():
            if version:
                subscription.confirmed[name] = version
            else:
                subscription.confirmed.pop(name, None)

    async def _tell(self, types: Iterable[str], *, first: bool = False) -> None:
        """Send what differs of these types. A first request is answered, even with nothing."""
        async with self._sending:
            conversation = self._conversation
            if conversation is None:
                return
            for type in types:
                subscription = conversation.subscriptions.get(type)
                if subscription is None or type not in self._wanted:
                    continue
                response = self._difference(type, subscription)
                empty = not response.resources and not response.removed_resources
                # An Envoy that has nothing waits for an answer before it is ready.
                if empty and not (first and not subscription.told and _EVERY in subscription.names):
                    continue
                await self._send(conversation, response)

    def _difference(self, type: str, subscription: _Subscription) -> _Response:
        """What Envoy has to be told of a type; noted as told."""
        self._number += 1
        response = _Response(type_url=type, nonce=str(self._number))
        for name, resource in self._wanted[type].items():
            if subscription.wants(name) and subscription.told.get(name) != resource.version:
                response.resources.add(name=name, version=resource.version, resource=resource.message)
                subscription.told[name] = resource.version
        gone = [each for each in subscription.told if each not in self._wanted[type]]
        # Envoy knows no removal of routes: they go with the listeners that use them.
        for name in gone if type == LISTENER_TYPE else ():
            response.removed_resources.append(name)
            del subscription.told[name]
        return response

    async def _send(self, conversation: _Conversation, response: _Response) -> None:
        held = {each.name: each.version for each in response.resources}
        conversation.open[response.nonce] = held | dict.fromkeys(response.removed_resources, "")
        self.responses += 1
        try:
            await conversation.stream.send_message(response)
        except BaseException as error:
            # It is not known what has arrived. Envoy comes again, and says what it has.
            await self._break(conversation)
            if not isinstance(error, StreamTerminatedError | ProtocolError | OSError):
                raise

    async def _break(self, conversation: _Conversation) -> None:
        if self._conversation is conversation:
            self._conversation = None
        with contextlib.suppress(StreamTerminatedError, ProtocolError, OSError):
            await conversation.stream.cancel()
