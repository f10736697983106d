from dataclasses import replace

import pytest

from kinety.agent.host_port import HostPortClaims
from kinety.agent.store import EndpointRecord
from kinety.agent.wishes import Wishes
from kinety.api.errors import ApiError
from kinety.model.host_port import HostPort
from tests.unit.agent.conftest import record


def wishes(*ports: str) -> Wishes:
    return Wishes(tuple(map(HostPort.parse, ports)))


@pytest.fixture
def endpoints() -> dict[tuple[str, str], EndpointRecord]:
    """One endpoint with two host ports."""
    return {("default", "web"): replace(record(1, "web"), wishes=wishes("8080:80", "192.0.2.1:53:53/udp"))}


def test_a_port_is_given_once(endpoints: dict[tuple[str, str], EndpointRecord]) -> None:
    claims = HostPortClaims(endpoints)
    for taken in ("8080:81", "[::]:8080:80", "53:53/udp"):
        with pytest.raises(ApiError, match=r"is taken: .* leads to endpoint default/web") as raised:
            claims.require_free(wishes("1:1", taken), (4, 6))
        assert (raised.value.status, raised.value.problem.path) == (409, "host_ports")
    claims.require_free(wishes("8081:80", "8080:80/udp", "192.0.2.2:53:53/udp"), (4, 6))


def test_what_went_leaves_its_ports_and_what_comes_takes_them(
    endpoints: dict[tuple[str, str], EndpointRecord],
) -> None:
    claims = HostPortClaims(endpoints)
    del endpoints["default", "web"]
    claims.require_free(wishes("8080:80"), (4,))
    made = replace(record(2, "other"), wishes=wishes("8080:80"))
    endpoints["default", "other"] = made
    claims.add(made)
    with pytest.raises(ApiError, match="default/other"):
        claims.require_free(wishes("8080:80"), (4,))


def test_a_port_of_a_family_that_the_endpoint_lacks_is_refused() -> None:
    claims = HostPortClaims({})
    claims.require_free(wishes("80:80", "0.0.0.0:81:80"), (4,))
    with pytest.raises(ApiError, match="of a family that the endpoint has no address of") as raised:
        claims.require_free(wishes("[::]:80:80"), (4,))
    assert (raised.value.status, raised.value.problem.path) == (400, "host_ports")
