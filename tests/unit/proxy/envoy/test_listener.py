"""A set of rules as a listener, and the mark of what goes on from it."""

import pytest
from envoy.extensions.filters.listener.original_src.v3 import original_src_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from kinety.model.layer7 import HeaderMatch, HttpRule, Layer7, Layer7Id, NamePattern
from kinety.proxy.envoy.listener import Listener, listener_message

ID = Layer7Id("a")
TLS = Layer7(server_names=(NamePattern("a.b"),))


def manager(layer7: Layer7) -> http_connection_manager_pb2.HttpConnectionManager:
    found = http_connection_manager_pb2.HttpConnectionManager()
    (chain,) = listener_message(ID, Listener(1, layer7)).filter_chains
    assert chain.filters[-1].typed_config.Unpack(found)
    return found


@pytest.mark.parametrize("layer7", [Layer7(http=(HttpRule(),)), TLS, Layer7()])
def test_a_listener_is_on_both_loopbacks_and_transparent(layer7: Layer7) -> None:
    message = listener_message(ID, Listener(10_001, layer7))
    addresses = [message.address, *(each.address for each in message.additional_addresses)]
    found = [(each.socket_address.address, each.socket_address.port_value) for each in addresses]
    assert found == [("127.0.0.1", 10_001), ("::1", 10_001)]
    assert message.transparent.value
    assert message.name == message.stat_prefix == ID


def test_what_goes_on_carries_the_listeners_port() -> None:
    message = listener_message(ID, Listener(10_001, Layer7()))
    source = original_src_pb2.OriginalSrc()
    assert message.listener_filters[1].typed_config.Unpack(source)
    assert source.mark == 10_001 << 16 | 0x0A00
    assert not source.bind_port


def test_names_are_looked_at_only_where_rules_name_some() -> None:
    def filters(layer7: Layer7) -> list[str]:
        found = listener_message(ID, Listener(1, layer7)).listener_filters
        return [each.name.rpartition(".")[2] for each in found]

    assert filters(Layer7(http=(HttpRule(),))) == ["original_dst", "original_src"]
    assert filters(TLS) == ["original_dst", "original_src", "tls_inspector"]


def test_a_name_that_comes_or_goes_changes_no_chain_of_another() -> None:
    def filter_chains(*names: str) -> dict[str, bytes]:
        layer7 = Layer7(server_names=tuple(map(NamePattern, names)))
        found = listener_message(ID, Listener(1, layer7)).filter_chains
        assert len({each.name for each in found}) == len(found)
        return {each.name: each.SerializeToString(deterministic=True) for each in found}

    fewer, more = filter_chains("a.b"), filter_chains("c.d", "a.b", "*.d", "a.b")
    assert more.items() > fewer.items()
    assert more.keys() - fewer.keys() == {"allowed/c.d", "allowed/*.d"}


@pytest.mark.parametrize(
    "rule",
    [HttpRule(), HttpRule("PUT", "/b", "h"), HttpRule(headers=(HeaderMatch("X-A"),))],
)
def test_rules_about_http_are_not_in_the_listener(rule: HttpRule) -> None:
    none, some = Listener(1, Layer7(), ("p",)), Listener(1, Layer7(http=(rule,)), ("q",))
    assert listener_message(ID, none) == listener_message(ID, some)
    assert manager(some.layer7).rds.route_config_name == ID
