"""Which requests and connections Envoy tells the agent of: those it refused, and noted.

What is allowed and unremarkable is counted by Envoy and told to nobody. All listeners have the very same
configuration, so that Envoy keeps one stream for all of them; the listener is noted on the connection.
"""

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import config_source_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from google.protobuf import duration_pb2
from google.protobuf.message import Message

from kinety.proxy.envoy.packing import packed

#: The cluster of the agent's socket.
AGENT = "agent"
#: Under which a connection has its listener's name.
LISTENER_KEY = "kinety.listener"
#: Routes whose requests nobody is told of have names that begin so.
QUIET = "allow"
_FLUSH = duration_pb2.Duration(nanos=100_000_000)


def request_teller() -> accesslog_pb2.AccessLog:
    """Tells of requests that matched no route, or one that is worth telling of."""
    return _teller(
        "envoy.access_loggers.http_grpc",
        als_pb2.HttpGrpcAccessLogConfig(common_config=_common("requests")),
        f'!has(xds.route_name) || !xds.route_name.startsWith("{QUIET}")',
    )


def connection_teller() -> accesslog_pb2.AccessLog:
    """Tells of connections whose server name may not pass."""
    return _teller(
        "envoy.access_loggers.tcp_grpc",
        als_pb2.TcpGrpcAccessLogConfig(common_config=_common("connections")),
        'xds.filter_chain_name == "refused"',
    )


def _common(name: str) -> als_pb2.CommonGrpcAccessLogConfig:
    common = als_pb2.CommonGrpcAccessLogConfig(
        log_name=name,
        transport_api_version=config_source_pb2.V3,
        buffer_flush_interval=_FLUSH,
        filter_state_objects_to_log=[LISTENER_KEY],
    )
    common.grpc_service.envoy_grpc.cluster_name = AGENT
    return common


def _teller(name: str, configuration: Message, expression: str) -> accesslog_pb2.AccessLog:
    extension = accesslog_pb2.ExtensionFilter(
        name="envoy.access_loggers.extension_filters.cel",
        typed_config=packed(cel_pb2.ExpressionFilter(expression=expression)),
    )
    return accesslog_pb2.AccessLog(
        name=name,
        typed_config=packed(configuration),
        filter=accesslog_pb2.AccessLogFilter(extension_filter=extension),
    )
