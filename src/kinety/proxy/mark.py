"""Marks of packets that go to a proxy and come from one; the datapath reads and writes the same."""

_UPSTREAM = 0x0A00


def upstream_mark(port: int) -> int:
    """SO_MARK of what the proxy with a listener on ``port`` sends to servers."""
    return port << 16 | _UPSTREAM
