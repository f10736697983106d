"""What the texts of the agent's options mean.

Each raises argparse.ArgumentTypeError for one that means nothing.
"""

import argparse
import math
import re
from dataclasses import fields
from ipaddress import ip_address, ip_network
from pathlib import Path

from kinety.agent.pool import Network
from kinety.model.label import NODE, Label
from kinety.model.layer7 import NamePattern
from kinety.plan.change import Capacity

#: Maps whose size can be chosen, and what they hold.
MAP_SIZES = tuple(field.name for field in fields(Capacity))
#: Kinds of container runtime, and by default the socket each listens on; of Podman, the program's name.
RUNTIMES = {"containerd": "/run/containerd/containerd.sock", "podman": "podman"}
#: Patterns of names: with stars for parts of labels, and two for any labels at the front.
_PATTERN = re.compile(r"(?=.{1,253}\Z)(?:\*\*\.)?[a-zA-Z0-9_*-]+(?:\.[a-zA-Z0-9_*-]+)*\.?\Z")
#: Labels with dots between them. Source: RFC 1035, 2.3.1; the underscore, as resolvers take it.
_DOMAIN = re.compile(r"(?=.{1,253}\Z)\w[\w-]{0,62}(?:\.\w[\w-]{0,62})*\.?\Z", re.ASCII)


def ports(text: str) -> range:
    """A range of ports, both ends included."""
    first, dash, last = text.partition("-")
    if not dash or not first.isdecimal() or not last.isdecimal() or not 0 < int(first) <= int(last) < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text!r}: write FIRST-LAST, such as 10000-14999")
    return range(int(first), int(last) + 1)


def positive(text: str) -> int:
    """A number from 1 to 2^32 - 1."""
    if not text.isdecimal() or not 0 < int(text) < 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def mtu(text: str) -> int:
    """Bytes."""
    if not text.isdecimal() or not 68 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"an MTU of {text} bytes is impossible; 68 to 65535 are not")
    return int(text)


def address(text: str) -> str:
    """An IP address, in its usual form."""
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def domain(text: str) -> str:
    """A DNS name."""
    if not _DOMAIN.match(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no domain, such as example.org")
    return text


def map_size(text: str) -> tuple[str, int]:
    """A map and how many entries it is to hold."""
    name, _, number = text.partition("=")
    if name not in MAP_SIZES:
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=N with NAME one of {', '.join(MAP_SIZES)}")
    return name, positive(number)


def name_pattern(text: str) -> NamePattern:
    """A pattern of DNS names, as policies have them."""
    if text != "*" and not _PATTERN.match(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no pattern of DNS names, such as *.example.org")
    return NamePattern(text.lower().removesuffix("."))


def node_label(text: str) -> Label:
    """A label of the node."""
    key, equals, value = text.partition("=")
    if not key or not equals or not text.isprintable() or any(map(str.isspace, text)):
        raise argparse.ArgumentTypeError(f"{text!r}: write KEY=VALUE, such as zone=a")
    return Label(NODE, key, value)


def runtime(text: str) -> tuple[str, str]:
    """A kind of container runtime, and where it is."""
    kind, equals, address = text.partition("=")
    if kind not in RUNTIMES:
        raise argparse.ArgumentTypeError(
            f"{text!r}: write KIND[=PATH] with KIND one of {', '.join(RUNTIMES)}"
        )
    if equals and not address.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r}: the path of the socket or program begins with /")
    return kind, address or RUNTIMES[kind]


def store(text: str) -> Path:
    """Where the store is."""
    scheme, colon, path = text.partition(":")
    if colon and scheme != "sqlite" and "/" not in scheme:
        raise argparse.ArgumentTypeError(f"{text!r}: the only kind of store is sqlite:PATH")
    path = path if colon and scheme == "sqlite" else text
    if not path:
        raise argparse.ArgumentTypeError("the store needs a path")
    return Path(path)


def prefix(text: str) -> Network:
    """A prefix of either family."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; write ADDRESS/BITS") from error


def seconds(text: str) -> float:
    """A number of seconds that is not negative."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return number


def pool4(text: str) -> Network | None:
    """A pool of IPv4 addresses, or none."""
    return _pool(text, 4)


def pool6(text: str) -> Network | None:
    """A pool of IPv6 addresses, or none."""
    return _pool(text, 6)


def _pool(text: str, version: int) -> Network | None:
    if text == "none":
        return None
    network = prefix(text)
    if network.version != version:
        raise argparse.ArgumentTypeError(f"{text} is no IPv{version} prefix")
    if network.num_addresses < 4:
        raise argparse.ArgumentTypeError(f"{text} has no address to give; use a shorter prefix")
    return network
