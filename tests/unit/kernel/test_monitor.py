import select

import pytest

from kinety.kernel.monitor import Happening, NetworkMonitor
from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink


@pytest.mark.needs("root", "netns")
def test_removed_links_and_addresses_are_seen() -> None:
    with Namespace.create("kinety-monitor-test") as namespace:
        try:
            with namespace.call(NetworkMonitor) as monitor, Netlink(namespace) as netlink:
                assert monitor.read() == Happening.NOTHING
                with netlink.batch() as batch:
                    batch.link("d0", "dummy", index=50, up=True)
                assert monitor.read() in (Happening.NOTHING, Happening.ADDRESS)
                with netlink.batch() as batch:
                    batch.link_delete(50)
                assert select.select([monitor], [], [], 5)[0]
                assert Happening.LINK_REMOVED in monitor.read()
                assert monitor.read() == Happening.NOTHING
        finally:
            namespace.remove()
