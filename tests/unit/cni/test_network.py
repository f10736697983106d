from typing import Any

import pytest

from kinety.cni.call import Call
from kinety.cni.error import CniError
from kinety.cni.network import check, dns, endpoint_request, valid_attachments
from kinety.model.host_port import HostPort
from tests.unit.cni.test_call import ENVIRONMENT, NETWORK


def request(arguments: str = "", interface: str = "eth0", **fields: Any) -> dict[str, Any]:
    environment = ENVIRONMENT | {"CNI_ARGS": arguments, "CNI_IFNAME": interface}
    return endpoint_request(Call(environment, NETWORK | fields, "1.1.0"), {})


def test_a_container_is_called_by_its_id_or_as_kubernetes_says() -> None:
    assert request() == {
        "name": "c1",
        "namespace": "default",
        "netns": "/run/netns/c1",
        "interface": "eth0",
        "labels": [],
        "addresses": [],
        "attachment": {"container": "c1", "network": "net"},
    }
    pod = request("K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web", "net1", mtu=1400)
    assert (pod["namespace"], pod["name"], pod["mtu"]) == ("prod", "web-net1", 1400)


def test_addresses_of_another_plugin_come_first() -> None:
    call = Call(ENVIRONMENT | {"CNI_ARGS": "IP=10.0.0.9"}, NETWORK, "1.1.0")
    assert endpoint_request(call, {"ips": [{"address": "10.0.0.1/24"}]})["addresses"] == ["10.0.0.1"]


def test_the_later_of_two_labels_wins() -> None:
    places: list[dict[str, Any]] = [
        {"labels": {"a": "1"}},
        {"runtimeConfig": {"labels": {"a": "2"}}},
        {"runtimeConfig": {"labels": {}, "io.kubernetes.cri.pod-annotations": {"kinety.io/labels": "a=3"}}},
        {"args": {"labels": {"a": "4"}}},
        {"args": {"labels": {"a": "4"}, "cni": {"labels": [{"key": "a", "value": "5"}, {"key": "b"}]}}},
    ]
    fields: dict[str, Any] = {}
    for number, place in enumerate(places, 1):
        fields |= place
        assert f"a={number}" in request(**fields)["labels"]
    assert request("KINETY_LABELS=a=6, c ,", **fields)["labels"] == ["a=6", "b", "c"]


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": {"a": 1}},
        {"runtimeConfig": {"labels": ["a"]}},
        {"args": {"cni": {"labels": ["a"]}}},
        {"args": {"cni": {"labels": [{"key": "a", "value": 1}]}}},
        {"args": {"cni": {"ips": "10.0.0.1"}}},
        {"runtimeConfig": {"ips": [1]}},
    ],
)
def test_labels_and_addresses_that_cannot_be(fields: dict[str, Any]) -> None:
    with pytest.raises(CniError) as raised:
        request(**fields)
    assert raised.value.code == 7


def test_addresses_come_without_their_length() -> None:
    asked: dict[str, Any] = {"runtimeConfig": {"ips": ["10.0.0.1/24", "fd00::1"]}}
    assert request(**asked)["addresses"] == ["10.0.0.1", "fd00::1"]
    assert request("IP=10.0.0.2", **asked)["addresses"] == ["10.0.0.2"]


def test_an_address_may_be_asked_for_twice() -> None:
    twice: dict[str, Any] = {"runtimeConfig": {"ips": ["10.0.0.1", "10.0.0.1", "fd00::1"]}}
    assert request(**twice)["addresses"] == ["10.0.0.1", "fd00::1"]


@pytest.mark.parametrize(
    ("fields", "code", "word"),
    [
        ({"lables": {}}, 2, "lables"),
        ({"ipam": {"subnet": "10.0.0.0/8"}}, 2, "10.0.0.0/8"),
        ({"runtimeConfig": {"ipRanges": [[{"subnet": "10.0.0.0/8"}]]}}, 2, "runtimeConfig.ipRanges"),
        ({"labels": ["a"]}, 7, "labels"),
        ({"mtu": "1400"}, 7, "mtu"),
        ({"mtu": True}, 7, "mtu"),
        ({"runtimeConfig": ["x"]}, 7, "runtimeConfig"),
    ],
)
def test_fields_that_are_refused(fields: dict[str, Any], code: int, word: str) -> None:
    with pytest.raises(CniError, match=word) as raised:
        check(NETWORK | fields)
    assert raised.value.code == code


def test_fields_that_are_let_through() -> None:
    check(
        NETWORK
        | {
            "ipam": {},
            "ipMasq": True,
            "args": {"anything": 1},
            "cni.dev/whatever": 1,
            "capabilities": {"portMappings": True},
            "runtimeConfig": {"portMappings": [], "aliases": ["x"]},
        }
    )


def test_name_servers_are_the_runtimes_or_the_networks() -> None:
    own = {"nameservers": ["10.0.0.1"], "domain": "example.org"}
    assert dns({}) == {}
    assert dns({"dns": own, "runtimeConfig": {"dns": {}}}) == own
    asked = {"servers": ["10.0.0.9"], "searches": ["a"], "options": []}
    assert dns({"dns": own, "runtimeConfig": {"dns": asked}}) == {
        "nameservers": ["10.0.0.9"],
        "search": ["a"],
    }


def test_valid_attachments_go_by_either_name() -> None:
    known = [{"containerID": "c1", "ifname": "eth0"}]
    for key in ("cni.dev/valid-attachments", "cni.dev/attachments"):
        assert valid_attachments({key: known}) == {("c1", "eth0")}
    for wrong in ({}, {"cni.dev/valid-attachments": {}}, {"cni.dev/valid-attachments": ["c1"]}):
        with pytest.raises(CniError, match="valid-attachments"):
            valid_attachments(wrong)


def test_host_ports_are_written_as_the_agent_reads_them() -> None:
    mappings = [
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""},
        {"hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": "192.0.2.1"},
        {"hostPort": 9, "containerPort": 9, "hostIP": "2001:db8::1"},
        {"hostPort": 10, "containerPort": 10, "protocol": "sctp", "hostIP": "::"},
    ]
    written = request(runtimeConfig={"portMappings": mappings})["host_ports"]
    assert written == ["8080:80/tcp", "192.0.2.1:53:5353/UDP", "[2001:db8::1]:9:9/tcp", "[::]:10:10/sctp"]
    assert [str(HostPort.parse(each)) for each in written] == [
        "8080:80/TCP",
        "192.0.2.1:53:5353/UDP",
        "[2001:db8::1]:9:9/TCP",
        "[::]:10:10/SCTP",
    ]


@pytest.mark.parametrize(
    "mapping",
    [
        {"hostPort": 0, "containerPort": 80},
        {"hostPort": -1, "containerPort": 80},
        {"hostPort": 65536, "containerPort": 80},
        {"hostPort": 80},
        {"hostPort": 80, "containerPort": "80"},
        {"hostPort": True, "containerPort": 80},
        {"hostPort": 80, "containerPort": 80, "protocol": 6},
        {"hostPort": 80, "containerPort": 80, "hostIP": 1},
        "8080:80",
    ],
)
def test_a_port_mapping_that_cannot_be_is_named(mapping: object) -> None:
    with pytest.raises(CniError, match="portMappings") as raised:
        request(runtimeConfig={"portMappings": [mapping]})
    assert raised.value.code == 7


def test_a_mac_address_is_asked_for_in_three_places() -> None:
    assert request("MAC=02:00:00:00:00:01")["mac"] == "02:00:00:00:00:01"
    conventional = {"cni": {"mac": "02:00:00:00:00:02"}}
    assert request("MAC=02:00:00:00:00:01", args=conventional)["mac"] == "02:00:00:00:00:02"
    asked = {"mac": "02:00:00:00:00:03"}
    assert request("MAC=02:00:00:00:00:01", args=conventional, runtimeConfig=asked)["mac"] == asked["mac"]
    with pytest.raises(CniError, match="mac 7 is no string"):
        request(runtimeConfig={"mac": 7})


def test_bandwidth_is_the_runtimes_or_else_the_annotations() -> None:
    asked = {"ingressRate": 1000, "ingressBurst": 8000, "egressRate": 0, "egressBurst": None}
    annotations = {"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "1.5G"}
    of_pod = {"io.kubernetes.cri.pod-annotations": annotations}
    assert request(runtimeConfig={"bandwidth": asked, **of_pod})["bandwidth"] == {
        "ingress_rate": 1000,
        "ingress_burst": 8000,
    }
    assert request(runtimeConfig=of_pod)["bandwidth"] == {
        "egress_rate": 1_500_000_000,
        "ingress_rate": 10_000_000,
    }
    assert "bandwidth" not in request(runtimeConfig={"bandwidth": {}})


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"bandwidth": {"ingressRate": -1}}, "bandwidth.ingressRate -1 is no number of bits"),
        ({"bandwidth": {"egressBurst": "1M"}}, "bandwidth.egressBurst '1M' is no number of bits"),
        ({"bandwidth": [1]}, "is no object"),
        (
            {"io.kubernetes.cri.pod-annotations": {"kubernetes.io/egress-bandwidth": "fast"}},
            "kubernetes.io/egress-bandwidth: 'fast' is no quantity",
        ),
    ],
)
def test_bandwidth_that_cannot_be_is_named(asked: dict[str, Any], why: str) -> None:
    with pytest.raises(CniError, match=why) as raised:
        request(runtimeConfig=asked)
    assert raised.value.code == 7
