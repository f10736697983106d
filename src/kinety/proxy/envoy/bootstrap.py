"""What Envoy is started with: where it asks for everything else, and where connections go on to."""

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2, protocol_pb2, socket_option_pb2
from envoy.config.overload.v3 import overload_pb2
from envoy.extensions.resource_monitors.downstream_connections.v3 import downstream_connections_pb2
from envoy.extensions.resource_monitors.fixed_heap.v3 import fixed_heap_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import duration_pb2, json_format, wrappers_pb2
from google.protobuf.message import Message

from kinety.model.layer7 import LARGEST_EXPRESSION
from kinety.proxy.envoy.admin import STATISTICS
from kinety.proxy.envoy.http_connection import aggregated, http1_options, http2_options
from kinety.proxy.envoy.listener import BUFFER, KEEPALIVE
from kinety.proxy.envoy.packing import packed
from kinety.proxy.envoy.routes import ORIGINAL_DESTINATION
from kinety.proxy.envoy.settings import EnvoySettings
from kinety.proxy.envoy.tellers import AGENT

#: Shorter than servers keep connections that nobody uses, so that hardly a request meets one that just
#: closes, and than any address rests before somebody else gets it.
_IDLE = duration_pb2.Duration(seconds=1)
_CONNECT = duration_pb2.Duration(seconds=5)
_STUCK = duration_pb2.Duration(seconds=60)
_UNLIMITED = wrappers_pb2.UInt32Value(value=2**32 - 1)
_SOL_IP, _IP_LOCAL_PORT_RANGE = 0, 51
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_RUNTIME = {
    # Enough for every rule a person writes; Envoy's own limit is 100.
    "re2.max_program_size.error_level": LARGEST_EXPRESSION,
    # Of several headers of one name Envoy would be content with one that is right. Servers take any of them.
    "envoy.reloadable_features.match_headers_individually": False,
}


def bootstrap_text(settings: EnvoySettings) -> str:
    """The same for the command line, as JSON. Paths in it are relative to the directory."""
    text: str = json_format.MessageToJson(
        bootstrap(settings), preserving_proto_field_name=True, indent=None, sort_keys=True
    )
    return text


def bootstrap(settings: EnvoySettings) -> bootstrap_pb2.Bootstrap:
    """What Envoy knows when it starts."""
    found = bootstrap_pb2.Bootstrap(
        node=base_pb2.Node(id="kinety", cluster="kinety"),
        admin=bootstrap_pb2.Admin(address=_pipe("admin/admin.sock", 0o600)),
        overload_manager=_limits(settings),
        # Who asks for statistics gets those of now.
        stats_flush_on_admin=True,
    )
    found.static_resources.clusters.extend([_agent(settings), _original_destination(settings)])
    found.dynamic_resources.lds_config.CopyFrom(aggregated())
    source = found.dynamic_resources.ads_config
    source.api_type = config_source_pb2.ApiConfigSource.DELTA_GRPC
    source.transport_api_version = config_source_pb2.V3
    source.set_node_on_first_message_only = True
    agent = source.grpc_services.add().envoy_grpc
    agent.cluster_name = AGENT
    # An agent that comes back is not kept waiting.
    agent.retry_policy.retry_back_off.base_interval.CopyFrom(duration_pb2.Duration(nanos=50_000_000))
    agent.retry_policy.retry_back_off.max_interval.CopyFrom(duration_pb2.Duration(nanos=500_000_000))
    for watchdog in (found.watchdogs.main_thread_watchdog, found.watchdogs.worker_watchdog):
        # Who is stuck for that long is killed, and started anew.
        watchdog.kill_timeout.CopyFrom(_STUCK)
    kept = found.stats_config.stats_matcher.inclusion_list.patterns
    kept.extend(string_pb2.StringMatcher(suffix=each) for each in STATISTICS)
    layer = found.layered_runtime.layers.add(name="kinety")
    layer.static_layer.update(_RUNTIME)
    return found


def _agent(settings: EnvoySettings) -> cluster_pb2.Cluster:
    """The agent's socket, by HTTP/2 as gRPC wants it."""
    cluster = cluster_pb2.Cluster(name=AGENT, type=cluster_pb2.Cluster.STATIC, connect_timeout=_CONNECT)
    cluster.load_assignment.cluster_name = AGENT
    endpoint = cluster.load_assignment.endpoints.add().lb_endpoints.add().endpoint
    endpoint.address.CopyFrom(_pipe(settings.channel.name))
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.SetInParent()
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(packed(options))
    return cluster


def _original_destination(settings: EnvoySettings) -> cluster_pb2.Cluster:
    """Wherever the client wanted to go, in the client's own version of HTTP."""
    cluster = cluster_pb2.Cluster(
        name=ORIGINAL_DESTINATION,
        type=cluster_pb2.Cluster.ORIGINAL_DST,
        lb_policy=cluster_pb2.Cluster.CLUSTER_PROVIDED,
        connect_timeout=_CONNECT,
        per_connection_buffer_limit_bytes=wrappers_pb2.UInt32Value(value=BUFFER),
        upstream_bind_config=address_pb2.BindConfig(socket_options=[_port_range(*settings.source_ports)]),
    )
    keepalive = cluster.upstream_connection_options.tcp_keepalive
    keepalive.keepalive_time.CopyFrom(wrappers_pb2.UInt32Value(value=KEEPALIVE))
    limits = cluster.circuit_breakers.thresholds.add()
    for field in ("max_connections", "max_pending_requests", "max_requests", "max_retries"):
        getattr(limits, field).CopyFrom(_UNLIMITED)
    options = http_protocol_options_pb2.HttpProtocolOptions(
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(idle_timeout=_IDLE)
    )
    options.use_downstream_protocol_config.http_protocol_options.CopyFrom(http1_options())
    options.use_downstream_protocol_config.http2_protocol_options.CopyFrom(http2_options())
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(packed(options))
    return cluster


def _port_range(first: int, last: int) -> socket_option_pb2.SocketOption:
    """Source: IP_LOCAL_PORT_RANGE in linux/in.h, since Linux 6.3."""
    return socket_option_pb2.SocketOption(
        description="IP_LOCAL_PORT_RANGE: ports that no client has",
        level=_SOL_IP,
        name=_IP_LOCAL_PORT_RANGE,
        int_value=last << 16 | first,
        state=socket_option_pb2.SocketOption.STATE_PREBIND,
    )


def _limits(settings: EnvoySettings) -> overload_pb2.OverloadManager:
    """Beyond them, clients are refused: no more connections, or, where memory ends, no more requests."""
    found = overload_pb2.OverloadManager(refresh_interval=duration_pb2.Duration(nanos=250_000_000))
    connections = downstream_connections_pb2.DownstreamConnectionsConfig(
        max_active_downstream_connections=settings.max_connections
    )
    heap = fixed_heap_pb2.FixedHeapConfig(max_heap_size_bytes=settings.max_heap)
    _monitor(found, "global_downstream_max_connections", connections)
    _monitor(found, "fixed_heap", heap)
    for name, threshold in (("shrink_heap", 0.9), ("stop_accepting_requests", 0.95)):
        action = found.actions.add(name=f"envoy.overload_actions.{name}")
        trigger = action.triggers.add(name="envoy.resource_monitors.fixed_heap")
        trigger.threshold.value = threshold
    return found


def _monitor(manager: overload_pb2.OverloadManager, name: str, configuration: Message) -> None:
    manager.resource_monitors.add(name=f"envoy.resource_monitors.{name}", typed_config=packed(configuration))


def _pipe(path: str, mode: int = 0) -> address_pb2.Address:
    return address_pb2.Address(pipe=address_pb2.Pipe(path=path, mode=mode))
