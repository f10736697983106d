"""How Envoy reads requests and writes them on, so that neither end sees that it is there.

Whatever one end may read differently than the other is refused, or rewritten before it is judged: a server
gets what the rules were asked about. docs/reference/http-rules.md has the table of cases.
"""

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2, config_source_pb2, extension_pb2, protocol_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    header_mutation_pb2 as early_header_mutation_pb2,
)
from envoy.extensions.http.header_formatters.preserve_case.v3 import preserve_case_pb2
from google.protobuf import duration_pb2, wrappers_pb2
from google.protobuf.message import Message

from kinety.model.layer7 import Layer7Id
from kinety.proxy.envoy.header import FORWARDED_PROTO, KEPT_PROTO
from kinety.proxy.envoy.packing import extension, packed
from kinety.proxy.envoy.tellers import request_teller

_Manager = http_connection_manager_pb2.HttpConnectionManager
_Mutation = mutation_rules_pb2.HeaderMutation
_YES, _NO = wrappers_pb2.BoolValue(value=True), wrappers_pb2.BoolValue(value=False)
#: Seconds a client may take to say what it wants.
_PATIENCE = duration_pb2.Duration(seconds=60)
_NEVER = duration_pb2.Duration()


def connection_manager(id: Layer7Id) -> http_connection_manager_pb2.HttpConnectionManager:
    """The filter that makes requests of bytes, for a listener whose routes have its name.

    It is the same whatever the rules are, or other rules would close connections, and be late for them.
    """
    return _Manager(
        codec_type=_Manager.AUTO,
        stat_prefix=id,
        rds=http_connection_manager_pb2.Rds(route_config_name=id, config_source=aggregated()),
        http_filters=[_filter("header_mutation", _restored_proto()), _filter("router", _router())],
        # What one client says never changes how its requests are carried.
        use_remote_address=_NO,
        internal_address_config=_Manager.InternalAddressConfig(),
        early_header_mutation_extensions=[_kept_proto()],
        # Nothing is added, and nothing of others taken away.
        server_header_transformation=_Manager.PASS_THROUGH,
        generate_request_id=_NO,
        forward_client_cert_details=_Manager.ALWAYS_FORWARD_ONLY,
        proxy_100_continue=True,
        http_protocol_options=http1_options(),
        http2_protocol_options=http2_options(),
        # Escaped slashes are the routes' business, because only some rules mind them.
        normalize_path=_YES,
        merge_slashes=True,
        path_with_escaped_slashes_action=_Manager.KEEP_UNCHANGED,
        upgrade_configs=[_Manager.UpgradeConfig(upgrade_type="websocket")],
        request_headers_timeout=_PATIENCE,
        # Streams may be quiet for as long as they like; who is gone without a word is found by keepalive.
        stream_idle_timeout=_NEVER,
        access_log=[request_teller()],
    )


def http1_options() -> protocol_pb2.Http1ProtocolOptions:
    """HTTP/1 as both sides speak it: names of headers as they were written, 1.0 too."""
    case = preserve_case_pb2.PreserveCaseFormatterConfig(forward_reason_phrase=True)
    formatter = extension("envoy.http.stateful_header_formatters.preserve_case", case)
    return protocol_pb2.Http1ProtocolOptions(
        accept_http_10=True,
        header_key_format=protocol_pb2.Http1ProtocolOptions.HeaderKeyFormat(stateful_formatter=formatter),
    )


def http2_options() -> protocol_pb2.Http2ProtocolOptions:
    """HTTP/2 as both sides speak it. A stream and a connection may have that much on their way, in bytes."""
    return protocol_pb2.Http2ProtocolOptions(
        initial_stream_window_size=wrappers_pb2.UInt32Value(value=1024 * 1024),
        initial_connection_window_size=wrappers_pb2.UInt32Value(value=4 * 1024 * 1024),
    )


def aggregated() -> config_source_pb2.ConfigSource:
    """From the one stream that everything comes by."""
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.V3
    )


def _router() -> router_pb2.Router:
    return router_pb2.Router(suppress_envoy_headers=True)


def _kept_proto() -> extension_pb2.TypedExtensionConfig:
    """Puts a client's X-Forwarded-Proto away before Envoy writes its own."""
    return extension(
        "envoy.http.early_header_mutation.header_mutation",
        early_header_mutation_pb2.HeaderMutation(mutations=_moved(FORWARDED_PROTO, KEPT_PROTO)),
    )


def _restored_proto() -> header_mutation_pb2.HeaderMutation:
    """Puts it back in the place of Envoy's, if there was one."""
    return header_mutation_pb2.HeaderMutation(
        mutations=header_mutation_pb2.Mutations(request_mutations=_moved(KEPT_PROTO, FORWARDED_PROTO))
    )


def _moved(source: str, target: str) -> list[mutation_rules_pb2.HeaderMutation]:
    """A header under another name, in the place of what is there."""
    copy = _Mutation(
        append=base_pb2.HeaderValueOption(
            header=base_pb2.HeaderValue(key=target, value=f"%REQ({source})%"),
            append_action=base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD,
        )
    )
    return [_Mutation(remove=target), copy, _Mutation(remove=source)]


def _filter(name: str, configuration: Message) -> http_connection_manager_pb2.HttpFilter:
    return http_connection_manager_pb2.HttpFilter(
        name=f"envoy.filters.http.{name}", typed_config=packed(configuration)
    )
