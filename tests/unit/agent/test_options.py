from pathlib import Path

import pytest

from kinety.agent.options import parse
from kinety.api.types import Dns


def test_defaults() -> None:
    options = parse([])
    assert options.store == Path("/var/lib/kinety/kinety.db")
    assert options.bpffs is None
    assert list(map(str, options.pools)) == ["10.240.0.0/16", "fd4b:696e:6574:79::/64"]
    assert (options.pool_reserve, options.address_quarantine) == ((), 30.0)
    assert options.allow_localhost
    assert not options.clsact_only
    assert not options.cleanup


def test_everything_can_be_chosen() -> None:
    words = (
        "--state-dir /s --store sqlite:/x/y.db --ipv4-pool none --ipv6-pool fd00::/64 --no-allow-localhost"
    )
    words += (
        " --conntrack-entries 64 --map-size rules=7 --map-size endpoints=3 --attach-mode clsact --mtu 9000"
    )
    words += " --node-label zone=a --node-label topology.kubernetes.io/region=north"
    options = parse(words.split())
    assert set(map(str, options.node_labels)) == {"node:zone=a", "node:topology.kubernetes.io/region=north"}
    assert options.store == Path("/x/y.db")
    assert list(map(str, options.pools)) == ["fd00::/64"]
    assert not options.allow_localhost
    assert (options.capacity.rules, options.capacity.endpoints, options.capacity.rule_sets) == (7, 3, 8192)
    assert (options.conntrack_entries, options.clsact_only, options.mtu) == (64, True, 9000)


def test_a_family_that_is_off_has_no_pool() -> None:
    options = parse(["--no-ipv6", "--ipv6-pool", "fd00::/64"])
    assert (options.ipv4, options.ipv6) == (True, False)
    assert [pool.version for pool in options.pools] == [4]
    assert [pool.version for pool in parse(["--no-ipv4"]).pools] == [6]


def test_pools_are_tried_in_their_order() -> None:
    words = (
        "--ipv4-pool 10.2.0.0/24 --ipv4-pool 10.1.0.0/24 --pool-reserve 10.1.0.0/28 --pool-reserve fd00::/8"
    )
    options = parse([*words.split(), "--ipv6-pool", "none", "--address-quarantine", "1.5"])
    assert list(map(str, options.pools)) == ["10.2.0.0/24", "10.1.0.0/24"]
    assert list(map(str, options.pool_reserve)) == ["10.1.0.0/28", "fd00::/8"]
    assert options.address_quarantine == 1.5


def test_the_mtu_is_the_uplinks_unless_said() -> None:
    assert parse([]).mtu is None
    assert parse(["--mtu", "1280"]).mtu == 1280


def test_a_runtime_has_an_address() -> None:
    options = parse(["--runtime", "containerd", "--runtime", "containerd=/run/k3s/containerd.sock"])
    assert options.runtimes == (
        ("containerd", "/run/containerd/containerd.sock"),
        ("containerd", "/run/k3s/containerd.sock"),
    )
    assert parse([]).runtimes == ()


def test_name_servers_and_domains_for_endpoints() -> None:
    assert parse([]).dns is None
    words = "--dns-server 10.0.0.53 --dns-server fd00:0::53 --dns-search svc.example.org --dns-search lan."
    assert parse(words.split()).dns == Dns(("10.0.0.53", "fd00::53"), ("svc.example.org", "lan."))
    assert parse(["--dns-search", "lan"]).dns == Dns((), ("lan",))


def test_the_store_is_in_the_state_directory() -> None:
    assert parse(["--state-dir", "/elsewhere"]).store == Path("/elsewhere/kinety.db")
    assert parse(["--store", "/plain/path"]).store == Path("/plain/path")


def test_ports_of_proxies_may_be_neighbours() -> None:
    options = parse(["--proxy-ports", "20000-29999", "--proxy-source-ports", "30000-40000"])
    assert (options.proxy_ports, options.proxy_source_ports) == (range(20000, 30000), range(30000, 40001))


@pytest.mark.parametrize(
    "words",
    [
        "--map-size endpoints",
        "--map-size nothing=5",
        "--map-size rules=0",
        "--map-size rules=-1",
        "--ipv4-pool fd00::/64",
        "--ipv4-pool 10.0.0.1/8",
        "--ipv4-pool 10.0.0.0/31",
        "--ipv6-pool word",
        "--ipv4-pool none --ipv4-pool 10.0.0.0/24",
        "--ipv4-pool 10.0.0.0/8 --ipv4-pool 10.1.0.0/16",
        "--ipv4-pool 10.0.0.0/24 --pool-reserve 10.0.0.0/23",
        "--pool-reserve none",
        "--pool-reserve 10.0.0.1/24",
        "--address-quarantine -1",
        "--address-quarantine nan",
        "--address-quarantine soon",
        "--store etcd://host",
        "--store sqlite:",
        "--conntrack-entries many",
        "--attach-mode magic",
        "--mtu 67",
        "--mtu 65536",
        "--mtu wide",
        "--dns-server resolver",
        "--dns-server 10.0.0.1 --dns-server 10.0.0.2 --dns-server 10.0.0.3 --dns-server 10.0.0.4",
        "--dns-search a..b",
        "--dns-search x/y",
        "--node-label zone",
        "--node-label =a",
        "--runtime docker",
        "--runtime containerd=relative",
        "--runtime containerd=",
        "--runtime containerd --runtime containerd",
        "--no-such-option",
        "--proxy-ports 61000-62000",
        "--proxy-source-ports 10000-12000",
        "--proxy-ports 20000-30000 --proxy-source-ports 30000-40000",
    ],
)
def test_impossible_options_are_one_line(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words.split())
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("kinety: ")
    assert message.count("\n") == 1
