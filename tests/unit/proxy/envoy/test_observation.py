"""What Envoy tells of requests, read."""

from envoy.data.accesslog.v3 import accesslog_pb2
from google.protobuf import wrappers_pb2

from kinety.model.address import pack_address
from kinety.model.layer7 import Layer7Id
from kinety.proxy.envoy.observation import Peer, connection, http_request
from kinety.proxy.envoy.packing import packed
from kinety.proxy.envoy.tellers import LISTENER_KEY


def common(entry: accesslog_pb2.AccessLogCommon, listener: str | None = "a") -> None:
    entry.downstream_remote_address.socket_address.address = "10.0.0.1"
    entry.downstream_remote_address.socket_address.port_value = 40_000
    entry.downstream_local_address.socket_address.address = "fd00::1"
    entry.downstream_local_address.socket_address.port_value = 80
    entry.time_to_last_downstream_tx_byte.FromMicroseconds(1500)
    if listener is not None:
        entry.filter_state_objects[LISTENER_KEY].CopyFrom(packed(wrappers_pb2.StringValue(value=listener)))


def http(route: str, status: int, listener: str | None = "a") -> accesslog_pb2.HTTPAccessLogEntry:
    entry = accesslog_pb2.HTTPAccessLogEntry()
    common(entry.common_properties, listener)
    entry.common_properties.route_name = route
    entry.request.request_method = 3
    entry.request.path, entry.request.authority = "/p?q", "h:80"
    entry.response.response_code.value = status
    return entry


def test_a_refused_request() -> None:
    found = http_request(http("deny", 403))
    assert found.client == Peer(pack_address("10.0.0.1"), 40_000)
    assert found.server == Peer(pack_address("fd00::1"), 80)
    assert (found.listener, found.denied, found.rule, found.mismatches) == (Layer7Id("a"), True, None, ())
    assert (found.method, found.path, found.host, found.status) == ("POST", "/p?q", "h:80", 403)
    assert found.latency == 0.0015


def test_a_noted_request() -> None:
    found = http_request(http("note/12/=!!", 200))
    assert (found.denied, found.rule, found.mismatches) == (False, 12, (1, 2))


def test_what_could_not_be_read_is_refused_too() -> None:
    entry = http("", 400, listener=None)
    entry.request.Clear()
    found = http_request(entry)
    assert (found.listener, found.denied, found.method, found.path) == (None, True, "", "")


def test_a_refused_connection() -> None:
    entry = accesslog_pb2.TCPAccessLogEntry()
    common(entry.common_properties)
    entry.common_properties.tls_properties.tls_sni_hostname = "a.b"
    found = connection(entry)
    assert (found.listener, found.denied, found.host, found.status) == (Layer7Id("a"), True, "a.b", 0)
    assert found.client.port == 40_000
