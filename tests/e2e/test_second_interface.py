"""A container with two interfaces: what goes by which, and what it takes to be reached by the second."""

import pytest

from tests.e2e.outside import run
from tests.e2e.real_node import Node, TcpServer, connect, family_of, refused
from tests.e2e.runtime import Runtime

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6")

GATEWAYS = {4: "169.254.0.1", 6: "fe80::1"}


def addresses(said: dict[str, list[dict[str, str]]]) -> dict[int, str]:
    return {6 if ":" in each["address"] else 4: each["address"].partition("/")[0] for each in said["ips"]}


def test_answers_of_the_second_need_a_route_of_their_own(running: Node) -> None:
    """Without it they leave by the first, with an address that is not its own, and are dropped there."""
    runtime, other = Runtime(running), Runtime(running, network="other")
    client, server = runtime.container("client"), runtime.container("server")
    runtime.add("client")
    first, second = addresses(runtime.add("server")), addresses(other.add("server", "net1"))
    for address in first.values():
        with TcpServer(server, 80, family_of(address)):
            connect(client, address, 80).close()
    for family, address in second.items():
        with TcpServer(server, 80, family_of(address)):
            before = running.dropped("source-address")
            assert refused(client, address, 80)
            assert running.dropped("source-address") > before
            gateway = GATEWAYS[family]
            run(server, f"ip -{family} rule add from {address} table 100")
            run(server, f"ip -{family} route add default via {gateway} dev net1 onlink table 100")
            connect(client, address, 80).close()
    other.delete("server", "net1")
    for address in first.values():
        with TcpServer(server, 80, family_of(address)):
            connect(client, address, 80).close()
