"""What Envoy tells of requests: those it refused, and those with headers that a rule only notes."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf import wrappers_pb2
from grpclib.const import Cardinality, Handler
from grpclib.server import Stream

from kinety.model.address import pack_address
from kinety.model.layer7 import Layer7Id
from kinety.proxy.envoy.routes import NOTED
from kinety.proxy.envoy.tellers import LISTENER_KEY

log = logging.getLogger(__name__)

_METHOD = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"


@dataclass(frozen=True, slots=True)
class Peer:
    """One end of a connection. ``address`` is 16 bytes, IPv4 mapped."""

    address: bytes
    port: int


@dataclass(frozen=True, slots=True)
class Request:
    """A request, or a TLS connection, that the rules of a listener refused, or noted.

    ``listener`` is None where Envoy could not tell. ``host`` is the server name of TLS, which has no
    method, no path, and status 0. ``latency`` is in seconds, from the first byte to the last of the
    answer. ``rule`` is the place in `Layer7.http` of the rule that let it through; None of what was refused.
    ``mismatches`` are the places in that rule's headers of those that were not as it says.
    """

    listener: Layer7Id | None
    denied: bool
    client: Peer
    server: Peer
    method: str = ""
    path: str = ""
    host: str = ""
    status: int = 0
    latency: float = 0.0
    rule: int | None = None
    mismatches: tuple[int, ...] = ()


class Observation:
    """The server of Envoy's access logs."""

    def __init__(self, observe: Callable[[Request], None]) -> None:
        """``observe`` is called for each request, and must not take long."""
        self._observe = observe

    def __mapping__(self) -> dict[str, Handler]:
        """What grpclib serves."""
        types = als_pb2.StreamAccessLogsMessage, als_pb2.StreamAccessLogsResponse
        return {_METHOD: Handler(self._listen, Cardinality.STREAM_UNARY, *types)}

    async def _listen(
        self, stream: Stream[als_pb2.StreamAccessLogsMessage, als_pb2.StreamAccessLogsResponse]
    ) -> None:
        async for message in stream:
            for entry in message.http_logs.log_entry:
                self._observe(http_request(entry))
            for entry in message.tcp_logs.log_entry:
                self._observe(connection(entry))


def http_request(entry: accesslog_pb2.HTTPAccessLogEntry) -> Request:
    """A request as Envoy tells of it."""
    common, request = entry.common_properties, entry.request
    kind, _, rest = common.route_name.partition("/")
    number, _, found = rest.partition("/")
    passed = kind == NOTED
    return Request(
        listener=_listener(common),
        denied=not passed,
        client=_peer(common.downstream_remote_address),
        server=_peer(common.downstream_local_address),
        method=_method(request),
        path=request.path,
        host=request.authority,
        status=entry.response.response_code.value,
        latency=common.time_to_last_downstream_tx_byte.ToTimedelta().total_seconds(),
        rule=int(number) if passed else None,
        mismatches=tuple(place for place, each in enumerate(found) if each == "!"),
    )


def connection(entry: accesslog_pb2.TCPAccessLogEntry) -> Request:
    """A TLS connection that was refused, as Envoy tells of it."""
    common = entry.common_properties
    return Request(
        listener=_listener(common),
        denied=True,
        client=_peer(common.downstream_remote_address),
        server=_peer(common.downstream_local_address),
        host=common.tls_properties.tls_sni_hostname,
    )


def _method(request: accesslog_pb2.HTTPRequestProperties) -> str:
    name: str = base_pb2.RequestMethod.Name(request.request_method)
    return name.removeprefix("METHOD_UNSPECIFIED")


def _listener(common: accesslog_pb2.AccessLogCommon) -> Layer7Id | None:
    noted = wrappers_pb2.StringValue()
    known = LISTENER_KEY in common.filter_state_objects
    if known and common.filter_state_objects[LISTENER_KEY].Unpack(noted):
        return Layer7Id(noted.value)
    return None


def _peer(address: address_pb2.Address) -> Peer:
    found = address.socket_address
    return Peer(pack_address(ip_address(found.address)), found.port_value)
