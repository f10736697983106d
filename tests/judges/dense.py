"""Documents made dense: rules that would pass each other by name the same peers and the same few ports."""

import random
from typing import Any

_RANGES = [(80, 80), (80, 80), (80, 81), (79, 81), (81, 81)]
_SELECTOR = {"matchLabels", "matchExpressions"}


def condensed(rng: random.Random, value: Any) -> Any:
    """A part of a document in which many selectors select everybody and many ranges hold port 80."""
    if isinstance(value, list):
        return [condensed(rng, each) for each in value]
    if not isinstance(value, dict):
        return value
    if value and value.keys() <= _SELECTOR and rng.random() < 0.7:
        return value if "reserved:" in str(value) else {}
    made = {key: condensed(rng, inner) for key, inner in value.items()}
    if "port" in made and rng.random() < 0.7:
        made |= _port(rng, made)
    if "destinationPort" in made:
        made["destinationPort"] = _destination(rng)
    if "cidr" in made and rng.random() < 0.5:
        return {"cidr": "::/0" if ":" in made["cidr"] else "0.0.0.0/0"}
    if "networks" in made and rng.random() < 0.5:
        made["networks"] = ["0.0.0.0/0", "::/0"]
    return made


def _port(rng: random.Random, item: dict[str, Any]) -> dict[str, Any]:
    """Another port for one of TCP's; ports by name, and those of other content, stay what they are."""
    first, last = rng.choice(_RANGES)
    if item.get("protocol", "TCP") != "TCP" or str(item["port"]) in ("53", "443"):
        return {}
    if not str(item["port"]).isdecimal():
        return {}
    number = type(item["port"])
    return (
        {"port": number(first), "endPort": last}
        if "endPort" in item
        else {"port": number(rng.choice([80, 81]))}
    )


def _destination(rng: random.Random) -> dict[str, Any]:
    first, last = rng.choice(_RANGES)
    return {"range": {"start": first, "end": last}} if first < last else {"number": first}
