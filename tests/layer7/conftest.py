import os
import secrets
from collections.abc import Iterator

import pytest

from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    """A namespace of its own with its loopback up."""
    made = Namespace.create(f"kinety-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with Netlink(made) as netlink, netlink.batch() as batch:
            batch.link_set("lo", up=True)
        yield made
    finally:
        made.remove()
