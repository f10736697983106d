"""The node's own settings: forwarding, and masquerading by an nftables table of Kinety's.

``rp_filter`` is left as it is: an endpoint's host route points back at its interface, so even the
strict filter passes what the endpoint program has passed.
"""

import errno
import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinety.model.address import Prefix, unpack_address

TABLE = "kinety"
_FAMILY = "inet"
_NFT = "nft"
_CHAIN = "postrouting"
_SRCNAT_PRIORITY = 100
_SYSCTL = Path("/proc/sys/net")
_MAPPED_BITS = 96
_TIMEOUT_SECONDS = 10

Json = dict[str, Any]


def enable_forwarding(ipv4: bool, ipv6: bool) -> int:
    """Let the node route between its interfaces; returns how many sysctls had to be written.

    An interface that learns its default route from router advertisements goes on doing so: the
    kernel stops listening to them when IPv6 forwarding is on, unless ``accept_ra`` is 2 (kernel
    documentation, ip-sysctl). Forwarding is not switched off again by ``cleanup``: others may have
    come to rely on it.
    """
    writes = 0
    if ipv4:
        writes += _set_sysctl(_SYSCTL / "ipv4/ip_forward", "1")
    forwarding = _SYSCTL / "ipv6/conf/all/forwarding"
    if ipv6 and forwarding.exists():
        if forwarding.read_text().strip() != "1":
            for accept in _SYSCTL.glob("ipv6/conf/*/accept_ra"):
                if accept.parent.name != "default" and accept.read_text().strip() == "1":
                    writes += _set_sysctl(accept, "2")
        writes += _set_sysctl(forwarding, "1")
    return writes


def masquerade(pools: Sequence[Prefix]) -> int:
    """Give what leaves the pools for elsewhere the address of the interface it leaves by.

    The table is replaced in one transaction, and only when it is not already what it should be.
    Returns the number of transactions. Raises OSError with what nft said.
    """
    rules = [_masquerade_rule(family, pools) for family in ("ip", "ip6") if _in_family(family, pools)]
    mark = hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:16]
    if _installed_mark() == mark:
        return 0
    table = {"family": _FAMILY, "name": TABLE}
    place = {"family": _FAMILY, "table": TABLE}
    chain = {
        **place,
        "name": _CHAIN,
        "type": "nat",
        "hook": "postrouting",
        "prio": _SRCNAT_PRIORITY,
        "policy": "accept",
    }
    commands: list[Json] = [
        {"add": {"table": table}},
        {"delete": {"table": table}},
        {"add": {"table": table}},
        {"add": {"chain": chain}},
        *({"add": {"rule": {**place, "chain": _CHAIN, "comment": mark, "expr": rule}}} for rule in rules),
    ]
    _nft(["-j", "-f", "-"], json.dumps({"nftables": commands}))
    return 1


def remove_masquerade() -> bool:
    """Remove the table; False when there was none, as without nft there cannot be."""
    if shutil.which(_NFT) is None or TABLE not in _table_names():
        return False
    commands = [{"delete": {"table": {"family": _FAMILY, "name": TABLE}}}]
    _nft(["-j", "-f", "-"], json.dumps({"nftables": commands}))
    return True


def _set_sysctl(path: Path, value: str) -> int:
    if path.read_text().strip() == value:
        return 0
    path.write_text(value)
    return 1


def _in_family(family: str, pools: Sequence[Prefix]) -> list[Json]:
    """The pools of one family as nft prefixes."""
    return [
        {
            "prefix": {
                "addr": str(unpack_address(pool.packed)),
                "len": pool.length - (_MAPPED_BITS if pool.is_ipv4 else 0),
            }
        }
        for pool in pools
        if pool.is_ipv4 == (family == "ip")
    ]


def _masquerade_rule(family: str, pools: Sequence[Prefix]) -> list[Json]:
    """Source in a pool, destination in none: masquerade."""
    members = {"set": _in_family(family, pools)}

    def match(operator: str, field: str) -> Json:
        left = {"payload": {"protocol": family, "field": field}}
        return {"match": {"op": operator, "left": left, "right": members}}

    return [match("==", "saddr"), match("!=", "daddr"), {"masquerade": None}]


def _table_names() -> set[str]:
    listing = json.loads(_nft(["-j", "list", "tables", _FAMILY]))
    return {item["table"]["name"] for item in listing["nftables"] if "table" in item}


def _installed_mark() -> str | None:
    """The mark of the rules that are there; None when they are not whole."""
    if TABLE not in _table_names():
        return None
    listing = json.loads(_nft(["-j", "list", "table", _FAMILY, TABLE]))
    marks = {item["rule"].get("comment") for item in listing["nftables"] if "rule" in item}
    return marks.pop() if len(marks) == 1 else None


def _nft(arguments: list[str], text: str = "") -> str:
    try:
        done = subprocess.run(
            [_NFT, *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        hint = "masquerading needs this program: install the package nftables, or use --no-masquerade"
        raise FileNotFoundError(errno.ENOENT, hint, _NFT) from error
    if done.returncode:
        raise OSError(f"nft {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")
    return done.stdout
