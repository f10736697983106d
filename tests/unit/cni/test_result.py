from typing import Any

import pytest

from kinety.cni.result import differences, result

ENDPOINT: dict[str, Any] = {
    "interface": "eth0",
    "ipv4": "10.0.0.1",
    "ipv6": "fd00::1",
    "gateways": ["169.254.0.1", "fe80::1"],
    "mac": "02:00:00:00:00:01",
    "host_mac": "02:00:00:00:00:02",
    "host_interface": "kinety0",
    "mtu": 1500,
    "default_routes": ["0.0.0.0/0", "::/0"],
}
STATE: dict[str, Any] = {"endpoint": ENDPOINT, "problems": [], "default_routes": ["0.0.0.0/0", "::/0"]}
ADDED = result("1.1.0", ENDPOINT, "/run/netns/c1", {})


def test_an_endpoint_of_one_family_has_the_gateway_of_that_family() -> None:
    said = result("1.0.0", ENDPOINT | {"ipv4": None, "gateways": ["fe80::1"]}, "/n", {})
    assert said["ips"] == [{"address": "fd00::1/128", "gateway": "fe80::1", "interface": 1}]
    assert said["routes"] == [{"dst": "::/0", "gw": "fe80::1"}]
    assert result("0.2.0", ENDPOINT | {"ipv6": None, "gateways": ["169.254.0.1"]}, "/n", {}) == {
        "cniVersion": "0.2.0",
        "ip4": {
            "ip": "10.0.0.1/32",
            "gateway": "169.254.0.1",
            "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.0.1"}],
        },
        "dns": {},
    }


@pytest.mark.parametrize("version", ["0.2.0", "0.4.0", "1.1.0"])
def test_only_routes_that_were_made_are_told_of(version: str) -> None:
    said = result(version, ENDPOINT | {"default_routes": ["::/0"]}, "/n", {})
    routes = said["routes"] if "routes" in said else [*said["ip4"]["routes"], *said["ip6"]["routes"]]
    assert routes == [{"dst": "::/0", "gw": "fe80::1"}]


def test_what_plugins_before_it_made_stays_in_the_result() -> None:
    before = {
        "interfaces": [{"name": "net0", "sandbox": "/n"}],
        "ips": [{"address": "192.0.2.1/24", "interface": 0}],
        "dns": {"domain": "example.org"},
    }
    said = result("1.0.0", ENDPOINT, "/n", {}, before)
    assert [each["name"] for each in said["interfaces"]] == ["net0", "kinety0", "eth0"]
    assert [each["interface"] for each in said["ips"]] == [0, 2, 2]
    assert said["dns"] == {"domain": "example.org"}
    assert before["interfaces"] == [{"name": "net0", "sandbox": "/n"}], "what was given is not changed"


@pytest.mark.parametrize("version", ["0.2.0", "1.1.0"])
def test_name_servers_are_the_networks_or_those_of_plugins_before_or_the_agents(version: str) -> None:
    own = ENDPOINT | {"dns": {"nameservers": ["10.0.0.53"], "search": []}}
    before = {"dns": {"domain": "example.org"}}
    assert result(version, own, "/n", {})["dns"] == {"nameservers": ["10.0.0.53"]}
    assert result(version, own, "/n", {}, before)["dns"] == before["dns"]
    assert result(version, own, "/n", {"domain": "x"}, before)["dns"] == {"domain": "x"}
    assert result(version, ENDPOINT | {"dns": None}, "/n", {})["dns"] == {}


def test_nothing_differs_from_what_was_added() -> None:
    assert differences(ADDED, STATE, "eth0") == []
    later = ADDED | {"routes": [*ADDED["routes"], {"dst": "192.0.2.0/24", "gw": "192.0.2.1"}]}
    assert differences(later, STATE, "eth0") == [], "a later plugin's route"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"problems": ["eth0 is down"]}, "eth0 is down"),
        ({"default_routes": ["::/0"]}, "0.0.0.0/0 by 169.254.0.1"),
        ({"endpoint": ENDPOINT | {"mac": "02:00:00:00:00:09"}}, "the MAC 02:00:00:00:00:09"),
        ({"endpoint": ENDPOINT | {"ipv4": "10.0.0.2"}}, "address 10.0.0.1,"),
    ],
)
def test_what_differs_is_told(change: dict[str, Any], word: str) -> None:
    (told,) = differences(ADDED, STATE | change, "eth0")
    assert word in told


def test_another_interface_is_not_in_the_result() -> None:
    assert differences(ADDED, STATE, "net1") == ["prevResult has no interface net1 in a sandbox"]
