"""A message under its name and version, as xDS carries it."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from google.protobuf import any_pb2
from google.protobuf.message import Message

from kinety.proxy.envoy.packing import packed

_PREFIX = "type.googleapis.com/"
LISTENER_TYPE = _PREFIX + listener_pb2.Listener.DESCRIPTOR.full_name
ROUTE_TYPE = _PREFIX + route_pb2.RouteConfiguration.DESCRIPTOR.full_name
#: In the order of which they have to be told: a listener asks for routes that are there already.
TYPES = (ROUTE_TYPE, LISTENER_TYPE)


@dataclass(frozen=True, slots=True)
class Resource:
    """A message and the digest of its bytes: equal content, equal version, whichever agent tells it."""

    version: str
    message: any_pb2.Any

    @classmethod
    def of(cls, message: Message) -> Self:
        """The resource that a message is."""
        found = packed(message)
        return cls(blake2b(found.value, digest_size=12).hexdigest(), found)
