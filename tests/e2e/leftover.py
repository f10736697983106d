"""What endpoints take, as comparable values: the same before they come and after they are gone."""

import os
import subprocess
from collections import Counter
from contextlib import suppress
from typing import Any

from kinety.kernel.netlink import Netlink
from kinety.testing.wait import wait_until
from tests.e2e.real_node import Node

_SOON = 10.0
#: Neighbours that were made; the kernel learns others by itself.
_TABLES = (
    "-4 route show table all",
    "-6 route show table all",
    "-4 neighbour show nud permanent",
    "-6 neighbour show nud permanent",
)


def kept(node: Node) -> dict[str, Any]:
    """Everything that an endpoint takes: rows, identities, interfaces, pins, addresses, files, routes."""
    held = node.settled()
    # What only ever counts up.
    del held["writes"], held["node_state"]
    with Netlink(node.namespace) as netlink:
        links = sorted(link.name for link in netlink.links())
    with node.client() as client:
        used = [pool.used for pool in client.status().pools]
        leases = [each for each in client.addresses() if each.state == "in-use"]
    enter = ["nsenter", f"--net=/run/netns/{node.name}", "ip"]
    return (
        held
        | {
            "links": links,
            "pins": sorted(str(path.relative_to(node.pins)) for path in node.pins.rglob("*")),
            "addresses": used,
            "leases": leases,
            "files": sorted(
                str(path.relative_to(node.state))
                for path in node.state.rglob("*")
                if path.is_file() and path.suffix != ".db-wal"
            ),
            "rules": node.ruleset(),
        }
        | {
            each: sorted(subprocess.check_output([*enter, *each.split()], text=True).splitlines())
            for each in _TABLES
        }
    )


def left(before: dict[str, Any], node: Node) -> dict[str, Any]:
    """What is otherwise than it was: before, and now."""
    now = kept(node)
    return {key: (before[key], now[key]) for key in before if before[key] != now[key]}


def descriptors(node: Node) -> Counter[str]:
    """What the agent has open, by kind, once nobody asks it for anything."""
    assert node.process is not None
    directory = f"/proc/{node.process.pid}/fd"

    def look() -> Counter[str]:
        found: Counter[str] = Counter()
        for each in os.listdir(directory):
            with suppress(FileNotFoundError):  # closed meanwhile
                found[os.readlink(f"{directory}/{each}").partition(":[")[0]] += 1
        return found

    with node.client() as client:
        client.status()
    seen: list[Counter[str]] = [Counter()]

    def still() -> bool:
        seen.append(look())
        return seen[-1] == seen[-2]

    wait_until(still, _SOON, "the agent has closed what it does not need")
    return seen[-1]
