"""The table of host ports, in a namespace of the test's own; tests/netns shows what it does to packets."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinety.datapath import nft
from kinety.datapath.host_ports import TABLE, Element, HostPorts, elements
from kinety.kernel.namespace import Namespace
from kinety.model.address import pack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.host_port import HostPort

WEB, DNS = [HostPort.parse("8080:80"), HostPort.parse("127.0.0.1:81:80")], [HostPort.parse("53:53/udp")]


def endpoint(number: int, *, ipv4: bool = True, ipv6: bool = True) -> Endpoint:
    return Endpoint(
        EndpointId(number),
        "default",
        f"e{number}",
        frozenset(),
        pack_address(f"10.0.0.{number}") if ipv4 else None,
        pack_address(f"fd00::{number}") if ipv6 else None,
    )


def test_elements_are_of_the_families_that_both_have() -> None:
    assert list(elements(endpoint(1), WEB)) == [
        Element("own4", ("10.0.0.1", "10.0.0.1")),
        Element("anywhere4", ("tcp", 8080), ("10.0.0.1", 80)),
        Element("at4", ("127.0.0.1", "tcp", 81), ("10.0.0.1", 80)),
        Element("own6", ("fd00::1", "fd00::1")),
        Element("anywhere6", ("tcp", 8080), ("fd00::1", 80)),
    ]
    assert [each.place for each in elements(endpoint(1, ipv4=False), WEB)] == ["own6", "anywhere6"]
    assert list(elements(endpoint(1, ipv4=False), WEB[1:])) == []
    assert str(Element("at4", ("127.0.0.1", "tcp", 81), ("10.0.0.1", 80))) == (
        "127.0.0.1 . tcp . 81 : 10.0.0.1 . 80"
    )


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace.create(f"kt-{os.getpid()}-{secrets.token_hex(4)}")
    yield made
    made.remove()


def ruleset(namespace: Namespace) -> str:
    return namespace.call(
        lambda: subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout
    )


def count(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What nft is told from now on."""
    told: list[str] = []
    run = nft.run

    def noted(arguments: list[str], text: str = "") -> str:
        told.append(text)
        return run(arguments, text)

    monkeypatch.setattr(nft, "run", noted)
    return told


@pytest.mark.needs("root", "netns", "nft")
def test_an_endpoint_more_is_an_element_more(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = HostPorts()
    namespace.call(ports.publish, endpoint(1), WEB, "lo")
    assert "tcp . 8080 : 10.0.0.1 . 80" in ruleset(namespace)
    told = count(namespace, monkeypatch)
    namespace.call(ports.publish, endpoint(2), DNS, "lo")
    assert len(told) == 1
    assert "chain" not in told[0]
    assert {"tcp . 8080 : fd00::1 . 80", "udp . 53 : 10.0.0.2 . 53"} <= {
        each.strip(" ,{}\n\t").removeprefix("elements = { ") for each in ruleset(namespace).split("\n")
    }
    namespace.call(ports.withdraw, endpoint(1), WEB)
    assert "10.0.0.1" not in ruleset(namespace)
    assert "10.0.0.2" in ruleset(namespace)
    namespace.call(ports.withdraw, endpoint(1), WEB)
    namespace.call(ports.withdraw, endpoint(2), DNS)
    assert ruleset(namespace) == "", "nobody pays for a table that leads nowhere"


@pytest.mark.needs("root", "netns", "nft")
def test_an_endpoint_without_host_ports_asks_nothing_of_nft(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = count(namespace, monkeypatch)
    ports = HostPorts()
    namespace.call(ports.publish, endpoint(1), [], "lo")
    namespace.call(ports.withdraw, endpoint(1), [])
    assert not told


@pytest.mark.needs("root", "netns", "nft")
def test_what_is_there_is_not_written_again(namespace: Namespace) -> None:
    namespace.call(HostPorts().publish, endpoint(1), WEB, "lo")
    again = HostPorts()
    namespace.call(again.restore, [(endpoint(1), WEB), (endpoint(2), [])])
    assert again.writes == 0
    namespace.call(again.restore, [(endpoint(1), WEB), (endpoint(2), DNS)])
    assert again.writes == 1
    assert "10.0.0.2" in ruleset(namespace)
    namespace.call(again.restore, [])
    assert (again.writes, ruleset(namespace)) == (2, "")


@pytest.mark.needs("root", "netns", "nft")
@pytest.mark.parametrize(
    "harm",
    [f"delete table inet {TABLE}", f"flush chain inet {TABLE} lead", f"flush map inet {TABLE} anywhere4"],
)
def test_what_others_have_harmed_is_mended(namespace: Namespace, harm: str) -> None:
    ports = HostPorts()
    namespace.call(ports.publish, endpoint(1), WEB, "lo")
    whole = ruleset(namespace)
    namespace.call(lambda: subprocess.run(["nft", *harm.replace("TABLE", TABLE).split()], check=True))
    namespace.call(ports.restore, [(endpoint(1), WEB)])
    assert ruleset(namespace) == whole


@pytest.mark.needs("root", "netns", "nft")
def test_a_table_that_is_gone_is_written_when_somebody_comes_or_goes(namespace: Namespace) -> None:
    ports = HostPorts()
    namespace.call(ports.publish, endpoint(1), WEB, "lo")
    namespace.call(lambda: subprocess.run(["nft", "flush", "ruleset"], check=True))
    namespace.call(ports.publish, endpoint(2), DNS, "lo")
    assert "10.0.0.1" in ruleset(namespace)
    namespace.call(lambda: subprocess.run(["nft", "flush", "ruleset"], check=True))
    namespace.call(ports.withdraw, endpoint(1), WEB)
    assert "10.0.0.1" not in ruleset(namespace)
    assert "10.0.0.2" in ruleset(namespace)


@pytest.mark.needs("root", "netns", "nft")
def test_a_refusal_changes_nothing(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = HostPorts()
    namespace.call(ports.publish, endpoint(1), WEB, "lo")
    whole = ruleset(namespace)
    monkeypatch.setattr(nft, "_NFT", "/no/such/nft")
    with pytest.raises(FileNotFoundError, match="install the package nftables"):
        namespace.call(ports.publish, endpoint(2), DNS, "lo")
    with pytest.raises(FileNotFoundError):
        namespace.call(ports.withdraw, endpoint(1), WEB)
    monkeypatch.undo()
    assert ruleset(namespace) == whole
    namespace.call(ports.withdraw, endpoint(1), WEB)
    assert ruleset(namespace) == ""


@pytest.mark.needs("root", "netns", "nft")
def test_answers_to_the_loopback_address_are_let_in_where_they_are_to_be_expected(
    namespace: Namespace,
) -> None:
    sysctl = Path("/proc/sys/net/ipv4/conf/lo/route_localnet")
    ports = HostPorts()
    namespace.call(
        ports.publish, endpoint(1), [HostPort.parse("192.0.2.1:1:1"), HostPort.parse("[::]:2:2")], "lo"
    )
    assert namespace.call(sysctl.read_text) == "0\n"
    namespace.call(ports.publish, endpoint(2), WEB, "lo")
    assert namespace.call(sysctl.read_text) == "1\n"
