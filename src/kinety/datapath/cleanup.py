"""The way out: nothing of Kinety stays on a node."""

import contextlib

from kinety.kernel import bpffs

from . import host_ports, nft, node, proxy_cgroup, redirection
from .interface import Wiring
from .settings import Settings
from .sockmap import retire_sockmap
from .template import remove_tree


def cleanup(settings: Settings) -> None:
    """Remove everything Kinety put into this network namespace and its pin directory.

    Interfaces go first, so that no packet passes unjudged. Forwarding stays on.
    """
    wiring = Wiring(settings)
    try:
        for index in wiring.interfaces():
            wiring.remove(index)
    finally:
        wiring.close()
    nft.delete_table(host_ports.TABLE)
    node.remove_masquerade()
    redirection.take_down()
    if settings.pins.is_dir() and bpffs.mounted(settings.pins):
        for path in settings.pins.iterdir():
            retire_sockmap(path / redirection.SOCKMAP)
            remove_tree(path)
        if settings.pins.is_mount():
            bpffs.unmount(settings.pins)
        with contextlib.suppress(OSError):  # somebody has put something there
            settings.pins.rmdir()
    proxy_cgroup.remove(settings.pins)
