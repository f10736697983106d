"""Marks of packets that go to a proxy and come from one, as the datapath reads and writes them."""

from kinety.abi import Mark

#: Of a redirected packet without an identity.
REDIRECTED_MARK = int(Mark.TO_PROXY)


def upstream_mark(port: int) -> int:
    """SO_MARK of what the proxy with a listener on ``port`` sends to servers."""
    return port << 16 | int(Mark.FROM_PROXY)
