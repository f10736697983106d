"""What endpoints take, as comparable values: the same before they come and after they are gone."""

from typing import Any

from kinety.kernel.netlink import Netlink
from tests.e2e.real_node import Node


def kept(node: Node) -> dict[str, Any]:
    """Everything that an endpoint takes: rows, identities, interfaces, pins, addresses, files."""
    held = node.settled()
    # What only ever counts up.
    del held["writes"], held["node_state"]
    with Netlink(node.namespace) as netlink:
        links = sorted(link.name for link in netlink.links())
    with node.client() as client:
        used = [pool.used for pool in client.status().pools]
    departures = node.state / "departures"
    return held | {
        "links": links,
        "pins": sorted(str(path.relative_to(node.pins)) for path in node.pins.rglob("*")),
        "addresses": used,
        "departures": sorted(departures.iterdir()) if departures.exists() else [],
    }
