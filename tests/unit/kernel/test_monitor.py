import os
import select

import pytest

from kinety.kernel.monitor import Happening, NetworkMonitor
from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink


@pytest.mark.needs("root", "netns")
def test_removed_links_are_seen_once() -> None:
    namespace = Namespace.create(f"kt-{os.getpid()}-monitor")
    try:
        with namespace.call(NetworkMonitor) as monitor, Netlink(namespace) as netlink:
            assert monitor.read() == Happening.NOTHING
            with netlink.batch() as batch:
                batch.link("d0", "bridge")
            assert monitor.read() == Happening.NOTHING
            link = netlink.link_named("d0")
            assert link is not None
            with netlink.batch() as batch:
                batch.link_delete(link.index)
            assert select.select([monitor], [], [], 5)[0]
            assert monitor.read() == Happening.LINK_REMOVED
            assert monitor.read() == Happening.NOTHING
    finally:
        namespace.remove()


@pytest.mark.needs("root", "netns", "ipv6")
def test_new_addresses_are_seen() -> None:
    namespace = Namespace.create(f"kt-{os.getpid()}-monitor")
    try:
        with namespace.call(NetworkMonitor) as monitor, Netlink(namespace) as netlink:
            with netlink.batch() as batch:
                batch.link_set("lo", up=True)
            assert select.select([monitor], [], [], 5)[0]
            assert Happening.ADDRESS in monitor.read()
    finally:
        namespace.remove()
