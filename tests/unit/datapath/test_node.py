"""Forwarding and masquerading in a namespace of the test's own."""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinety.datapath import nft, node
from kinety.kernel.namespace import Namespace
from kinety.model.address import Prefix

pytestmark = pytest.mark.needs("root", "netns", "nft")

POOLS = [Prefix.parse("10.77.0.0/16"), Prefix.parse("fd77::/64")]


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace.create(f"kt-{os.getpid()}-{secrets.token_hex(4)}")
    yield made
    made.remove()


def read(namespace: Namespace, path: str) -> str:
    return namespace.call(lambda: Path("/proc/sys/net", path).read_text().strip())


def tables(namespace: Namespace) -> list[dict[str, str]]:
    done = namespace.call(
        lambda: subprocess.run(["nft", "-j", "list", "ruleset"], check=True, capture_output=True).stdout
    )
    return json.loads(done)["nftables"]


def test_forwarding_is_switched_on_once(namespace: Namespace) -> None:
    assert namespace.call(node.enable_forwarding, True, True) > 0
    assert read(namespace, "ipv4/ip_forward") == "1"
    assert read(namespace, "ipv6/conf/all/forwarding") == "1"
    assert namespace.call(node.enable_forwarding, True, True) == 0


def test_router_advertisements_stay_heard(namespace: Namespace) -> None:
    assert read(namespace, "ipv6/conf/lo/accept_ra") == "1"
    namespace.call(node.enable_forwarding, False, True)
    assert read(namespace, "ipv6/conf/lo/accept_ra") == "2"
    assert read(namespace, "ipv4/ip_forward") == "0", "what was not asked for is left alone"


def test_masquerade_is_written_once_and_removed(namespace: Namespace) -> None:
    assert namespace.call(node.masquerade, POOLS) == 1
    listed = tables(namespace)
    assert len([item for item in listed if "rule" in item]) == 2
    assert namespace.call(node.masquerade, POOLS) == 0
    assert namespace.call(node.masquerade, POOLS[:1]) == 1
    assert len([item for item in tables(namespace) if "rule" in item]) == 1
    assert namespace.call(node.remove_masquerade)
    assert not namespace.call(node.remove_masquerade)
    assert not [item for item in tables(namespace) if "table" in item]


def test_a_table_someone_tampered_with_is_written_again(namespace: Namespace) -> None:
    namespace.call(node.masquerade, POOLS)
    namespace.call(
        lambda: subprocess.run(["nft", "flush", "chain", "inet", "kinety", "postrouting"], check=True)
    )
    assert namespace.call(node.masquerade, POOLS) == 1
    assert len([item for item in tables(namespace) if "rule" in item]) == 2


def test_what_nft_says_is_passed_on(namespace: Namespace) -> None:
    with pytest.raises(OSError, match=r"nft -j -f -: .*Unknown object"):
        namespace.call(nft.run, ["-j", "-f", "-"], '{"nftables": [{"nonsense": {}}]}')


def test_a_missing_nft_is_an_error_with_a_way_out(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nft, "_NFT", "/no/such/nft")
    with pytest.raises(FileNotFoundError, match=r"install the package nftables,\s+or use --no-masquerade"):
        namespace.call(node.masquerade, POOLS)
