"""The node's own settings: forwarding, and masquerading by an nftables table of Kinety's.

``rp_filter`` is left as it is: an endpoint's host route points back at its interface, so even the
strict filter passes what the endpoint program has passed.
"""

import hashlib
import json
from collections.abc import Sequence

from kinety.model.address import Prefix, unpack_address

from . import nft
from .nft import Json
from .settings import INTERFACE_PREFIX
from .sysctl import NET, set_sysctl

TABLE = "kinety"
#: By it a proxy speaks to processes of the node's, in the name of an endpoint.
_LOOPBACK = "lo"
_CHAIN = "postrouting"
_SRCNAT_PRIORITY = 100
_MAPPED_BITS = 96


def enable_forwarding(ipv4: bool, ipv6: bool) -> int:
    """Let the node route between its interfaces; returns how many sysctls had to be written.

    An interface that learns its default route from router advertisements goes on doing so: the
    kernel stops listening to them when IPv6 forwarding is on, unless ``accept_ra`` is 2 (kernel
    documentation, ip-sysctl). Forwarding is not switched off again by ``cleanup``: others may have
    come to rely on it.
    """
    writes = 0
    if ipv4:
        writes += set_sysctl(NET / "ipv4/ip_forward", "1")
    forwarding = NET / "ipv6/conf/all/forwarding"
    if ipv6 and forwarding.exists():
        if forwarding.read_text().strip() != "1":
            for accept in NET.glob("ipv6/conf/*/accept_ra"):
                if accept.parent.name != "default" and accept.read_text().strip() == "1":
                    writes += set_sysctl(accept, "2")
        writes += set_sysctl(forwarding, "1")
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
    place = {"family": nft.FAMILY, "table": TABLE}
    chain = {
        **place,
        "name": _CHAIN,
        "type": "nat",
        "hook": "postrouting",
        "prio": _SRCNAT_PRIORITY,
        "policy": "accept",
    }
    commands: list[Json] = [
        {"add": {"chain": chain}},
        *({"add": {"rule": {**place, "chain": _CHAIN, "comment": mark, "expr": rule}}} for rule in rules),
    ]
    nft.replace_table(TABLE, commands)
    return 1


def remove_masquerade() -> bool:
    """Remove the table; False when there was none, as without nft there cannot be."""
    return nft.delete_table(TABLE)


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
    """Source in a pool, destination in none, no endpoint and not the node itself: masquerade."""
    members = {"set": _in_family(family, pools)}

    def match(operator: str, field: str) -> Json:
        left = {"payload": {"protocol": family, "field": field}}
        return {"match": {"op": operator, "left": left, "right": members}}

    def beside(interface: str) -> Json:
        return {"match": {"op": "!=", "left": {"meta": {"key": "oifname"}}, "right": interface}}

    elsewhere = [beside(f"{INTERFACE_PREFIX}*"), beside(_LOOPBACK)]
    return [match("==", "saddr"), match("!=", "daddr"), *elsewhere, {"masquerade": None}]


def _installed_mark() -> str | None:
    """The mark of the rules that are there; None when they are not whole."""
    marks = {item["rule"].get("comment") for item in nft.list_table(TABLE) if "rule" in item}
    return marks.pop() if len(marks) == 1 else None
