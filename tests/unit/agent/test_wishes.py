from dataclasses import replace

import pytest

from kinety.agent.wishes import Wishes
from kinety.api.errors import ApiError
from kinety.api.types import Bandwidth, EndpointRequest
from kinety.model.bandwidth import Rate
from kinety.model.host_port import HostPort

REQUEST = EndpointRequest(name="web", netns="/run/netns/web")


def test_nothing_is_wished_for_by_default() -> None:
    assert Wishes.of(REQUEST) == Wishes()
    assert str(Wishes()) == "{}"


def test_they_are_text_both_ways() -> None:
    asked = replace(
        REQUEST,
        host_ports=("8080:80", "[::]:53:53/udp", "8080:80/TCP"),
        mac="02-00-00-00-0a-01",
        mtu=1400,
        bandwidth=Bandwidth(egress_rate=10**9, ingress_rate=1000, ingress_burst=8000),
    )
    wishes = Wishes.of(asked)
    assert wishes.host_ports == (HostPort.parse("8080:80/TCP"), HostPort.parse("[::]:53:53/UDP"))
    assert (wishes.shape.mac, wishes.shape.mtu) == (bytes.fromhex("020000000a01"), 1400)
    assert wishes.shape.bandwidth.egress == Rate.of(10**9)
    assert wishes.shape.bandwidth.ingress == Rate(1000, 8000)
    assert Wishes.parse(str(wishes)) == wishes
    assert Wishes.of(replace(REQUEST, bandwidth=Bandwidth())) == Wishes()


@pytest.mark.parametrize(
    ("fields", "path", "why"),
    [
        ({"host_ports": ("0:80",)}, "host_ports", "'0' is no port"),
        ({"host_ports": ("80:80", "0.0.0.0:80:81")}, "host_ports", "80:80/TCP and 0.0.0.0:80:81/TCP are one"),
        ({"bandwidth": Bandwidth(egress_rate=999)}, "bandwidth.egress_rate", "a rate of 999 bit/s is none"),
        ({"bandwidth": Bandwidth(ingress_burst=1)}, "bandwidth.ingress_rate", "a rate of 0 bit/s is none"),
        ({"mac": "02:00:00:00:00"}, "mac", "is no MAC address, as 02:00:00:00:00:01 is one"),
        ({"mac": "02:00:00:00:00:0g"}, "mac", "is no MAC address"),
        ({"mac": "02:00-00:00:00:01"}, "mac", "is no MAC address"),
        ({"mac": "01:00:00:00:00:01"}, "mac", "not the MAC address of a single interface"),
        ({"mac": "00:00:00:00:00:00"}, "mac", "not the MAC address of a single interface"),
        ({"mac": "ff:ff:ff:ff:ff:ff"}, "mac", "not the MAC address of a single interface"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, object], path: str, why: str) -> None:
    with pytest.raises(ApiError, match=why) as raised:
        Wishes.of(replace(REQUEST, **fields))  # type: ignore[arg-type]
    assert (raised.value.status, raised.value.problem.path) == (400, path)
