"""A set of rules about HTTP or TLS as a listener of Envoy's.

The listener is transparent: the local end of an accepted connection is where the client wanted to go, and
there goes the connection upstream, from the client's own address. Rules about HTTP are not in here but in a
route configuration of the same name (`kinety.proxy.envoy.routes`): a change of them acts on the next request
of live connections, and drains none.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from envoy.config.core.v3 import address_pb2, socket_option_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.original_src.v3 import original_src_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.direct_response.v3 import config_pb2 as direct_response_pb2
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf import duration_pb2, wrappers_pb2
from google.protobuf.message import Message

from kinety.model.layer7 import Layer7, Layer7Id
from kinety.proxy.envoy.http_connection import connection_manager
from kinety.proxy.envoy.packing import packed
from kinety.proxy.envoy.routes import ORIGINAL_DESTINATION
from kinety.proxy.envoy.server_names import CHAIN, REFUSED_CHAIN, chain_choice, chain_of
from kinety.proxy.envoy.tellers import LISTENER_KEY, connection_teller
from kinety.proxy.mark import upstream_mark

#: Of a connection and direction, in bytes; whoever sends faster waits.
BUFFER = 256 * 1024
_BACKLOG = 4096
#: Seconds of silence after which a peer is asked whether it is there.
KEEPALIVE = 300
_SOL_SOCKET, _SO_KEEPALIVE = 1, 9
_SOL_TCP, _TCP_KEEPIDLE = 6, 4
#: Where listeners are, that datapath and agent connect to them.
LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Listener:
    """Rules about content behind a port of 127.0.0.1 and ::1, and the names of the policies they are of."""

    port: int
    layer7: Layer7
    policies: tuple[str, ...] = ()


def listener_message(id: Layer7Id, listener: Listener) -> listener_pb2.Listener:
    """What Envoy is told of a listener. Raises ValueError for rules that Envoy cannot carry out."""
    first, second = (_address(each, listener.port) for each in LOOPBACK)
    return listener_pb2.Listener(
        name=id,
        stat_prefix=id,
        address=first,
        additional_addresses=[listener_pb2.AdditionalAddress(address=second)],
        transparent=wrappers_pb2.BoolValue(value=True),
        tcp_backlog_size=wrappers_pb2.UInt32Value(value=_BACKLOG),
        per_connection_buffer_limit_bytes=wrappers_pb2.UInt32Value(value=BUFFER),
        socket_options=_KEEPALIVE,
        listener_filters=list(_listener_filters(listener)),
        filter_chain_matcher=chain_choice(listener.layer7),
        filter_chains=list(_filter_chains(id, listener.layer7)),
        access_log=[connection_teller()] if listener.layer7.server_names else [],
    )


def _listener_filters(listener: Listener) -> Iterator[listener_components_pb2.ListenerFilter]:
    """Where the client wanted to go; as whom, with which mark, Envoy goes there; which server it named."""
    source = original_src_pb2.OriginalSrc(mark=upstream_mark(listener.port))
    yield _listener_filter("original_dst", original_dst_pb2.OriginalDst())
    yield _listener_filter("original_src", source)
    if listener.layer7.server_names:
        yield _listener_filter("tls_inspector", tls_inspector_pb2.TlsInspector())


def _filter_chains(id: Layer7Id, layer7: Layer7) -> Iterator[listener_components_pb2.FilterChain]:
    """What becomes of connections that go on, of each name apart, and of those whose name may not."""
    if not layer7.server_names:
        yield _chain(CHAIN, id, "http_connection_manager", connection_manager(id))
        return
    tcp_proxy = tcp_proxy_pb2.TcpProxy(
        stat_prefix=id,
        cluster=ORIGINAL_DESTINATION,
        idle_timeout=duration_pb2.Duration(),
        max_connect_attempts=wrappers_pb2.UInt32Value(value=1),
    )
    for each in dict.fromkeys(layer7.server_names):
        yield _chain(chain_of(each), id, "tcp_proxy", tcp_proxy)
    # Closes before it has read anything: the kernel makes a reset of that.
    yield _chain(REFUSED_CHAIN, id, "direct_response", direct_response_pb2.Config())


def _chain(
    name: str, id: Layer7Id, filter_name: str, configuration: Message
) -> listener_components_pb2.FilterChain:
    """A chain that notes its listener, for those it tells of requests, and ends in a filter."""
    note = value_pb2.FilterStateValue(object_key=LISTENER_KEY, factory_key="envoy.string")
    note.format_string.text_format_source.inline_string = id
    noting = set_filter_state_pb2.Config(on_new_connection=[note])
    return listener_components_pb2.FilterChain(
        name=name, filters=[_filter("set_filter_state", noting), _filter(filter_name, configuration)]
    )


def _filter(name: str, configuration: Message) -> listener_components_pb2.Filter:
    return listener_components_pb2.Filter(
        name=f"envoy.filters.network.{name}", typed_config=packed(configuration)
    )


def _listener_filter(name: str, configuration: Message) -> listener_components_pb2.ListenerFilter:
    return listener_components_pb2.ListenerFilter(
        name=f"envoy.filters.listener.{name}", typed_config=packed(configuration)
    )


def _address(address: str, port: int) -> address_pb2.Address:
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=address, port_value=port))


def _option(level: int, name: int, value: int, description: str) -> socket_option_pb2.SocketOption:
    return socket_option_pb2.SocketOption(
        description=description,
        level=level,
        name=name,
        int_value=value,
        state=socket_option_pb2.SocketOption.STATE_PREBIND,
    )


_KEEPALIVE = (
    _option(_SOL_SOCKET, _SO_KEEPALIVE, 1, "SO_KEEPALIVE: clients that are gone without a word are noticed"),
    _option(_SOL_TCP, _TCP_KEEPIDLE, KEEPALIVE, "TCP_KEEPIDLE"),
)
