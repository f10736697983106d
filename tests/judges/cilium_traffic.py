"""Random ports, message types and content of ``cilium.io/v2``."""

import random
from typing import Any

from tests.judges.vocabulary import (
    DNS_PORT,
    HTTP_RANGES,
    ICMP_TYPES,
    NAME_PATTERNS,
    NAMES,
    PORT_NAMES,
    PORTS,
    RANGES,
    TLS_PORT,
    some,
)

_METHODS = ["GET", "PUT", "GET|HEAD"]
_PATHS = ["/", "/public/.*", "/v1/.*"]


def traffic(rng: random.Random, side: str, *, plain: bool) -> dict[str, Any]:
    """Ports or ICMP types of a rule, or neither. ``plain``: without content."""
    match rng.choice(["none", "none", "ports", "ports", "ports", *["content"] * 5, "icmps"]):
        case "content" if not plain:
            items = [_content(rng, side) for _ in range(rng.randint(1, 2))]
            if rng.random() < 0.3:
                items.insert(rng.randint(0, 1), {"ports": [port(rng)]})
            return {"toPorts": items}
        case "ports" | "content":
            ports = [[port(rng) for _ in range(rng.randint(1, 3))] for _ in range(rng.randint(1, 2))]
            return {"toPorts": [{"ports": each} for each in ports]}
        case "icmps":
            return {"icmps": [{"fields": [_icmp(rng) for _ in range(rng.randint(1, 2))]}]}
        case _:
            return {}


def port(rng: random.Random) -> dict[str, Any]:
    """A port, a range, a name, or a protocol without ports."""
    if rng.random() < 0.05:
        return {"protocol": rng.choice(["ICMP", "ICMPv6", "GRE"])}
    made: dict[str, Any] = {}
    if rng.random() < 0.2:
        made["port"] = rng.choice([*PORT_NAMES, "WEB", "nobodys"])
    else:
        first, last = rng.choice(RANGES) if rng.random() < 0.5 else (rng.choice([0, *PORTS]), 0)
        made["port"] = str(first) if rng.random() < 0.9 else first
        if last > first or (first and rng.random() < 0.1):
            made["endPort"] = max(first, last)
    if rng.random() < 0.8:
        made["protocol"] = rng.choice(["TCP", "TCP", "UDP", "SCTP", "ANY"])
    return made


def _content(rng: random.Random, side: str) -> dict[str, Any]:
    """An item of toPorts that asks for content."""
    match rng.choice(["http", "http", "http", "server names", *["dns"] * (side == "to")]):
        case "http":
            rules = {"http": [_request(rng) for _ in range(rng.randint(1, 2))]}
            return {"ports": [_http_port(rng) for _ in range(rng.randint(1, 2))], "rules": rules}
        case "dns":
            made: dict[str, Any] = {"port": rng.choice([str(DNS_PORT), "dns"])}
            if rng.random() < 0.8:
                made["protocol"] = rng.choice(["TCP", "UDP", "ANY"])
            asked = rng.choice(
                [{"matchName": rng.choice(NAMES)}, {"matchPattern": rng.choice(NAME_PATTERNS)}]
            )
            return {"ports": [made], "rules": {"dns": [asked]}}
        case _:
            names = some(rng, [*NAMES, "*.example.com"])
            return {"ports": [{"port": str(TLS_PORT), "protocol": "TCP"}], "serverNames": names}


def _http_port(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.15:
        return {"port": rng.choice(["web", "admin"]), "protocol": "TCP"}
    first, last = rng.choice(HTTP_RANGES)
    made: dict[str, Any] = {"port": str(first), "protocol": "TCP"}
    return made | ({"endPort": last} if last > first else {})


def _request(rng: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if rng.random() < 0.6:
        made["method"] = rng.choice(_METHODS)
    if rng.random() < 0.6:
        made["path"] = rng.choice(_PATHS)
    if rng.random() < 0.1:
        made["host"] = "example[.]com"
    if rng.random() < 0.15:
        made["headers"] = some(rng, ["X-Token: 42", "X-Token 42", "X-Trace"])
    if rng.random() < 0.1:
        match: dict[str, Any] = {
            "name": "X-User",
            "mismatch": rng.choice(["LOG", "ADD", "DELETE", "REPLACE"]),
        }
        source = rng.choice([{"value": "x"}, {"secret": {"name": "token"}}])
        made["headerMatches"] = [match | source]
    return made


def _icmp(rng: random.Random) -> dict[str, Any]:
    family = rng.choice(list(ICMP_TYPES))
    made: dict[str, Any] = {"type": rng.choice(ICMP_TYPES[family])}
    if family == "IPv6" or rng.random() < 0.7:
        made["family"] = family
    return made
