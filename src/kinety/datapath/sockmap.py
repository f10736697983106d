"""The redirect ``sockmap``: two programs that put what clients and proxies say into each other's queues.

One is told of every connection that comes about on this machine, in the topmost cgroup, and keeps those of
endpoints that are led to proxies; the other, on the map of their sockets, is asked about what they send.
Decision 0043 says what bounds those queues, and what the kernel has to count for it.
"""

import socket
from collections.abc import Mapping
from pathlib import Path

from kinety import abi
from kinety.kernel.collection import Collection
from kinety.kernel.kernel_types import KernelTypes
from kinety.kernel.link import Link
from kinety.kernel.map import Map
from kinety.kernel.reachability import pruned
from kinety.kernel.spec import CollectionSpec
from kinety.kernel.uapi import AttachType

from .proxy_cgroup import cgroup_root
from .proxy_program import version
from .settings import Settings
from .template import node_constants, packaged_object, remove_tree

OBJECT = "sockmap.o"
_MEET, _CARRY, _SOCKETS, _PAIRS = "meet", "carry", "sockets", "pairs"
#: What a directory of one that takes up no more connections is called, with its link's number.
_FORMER = "former"
#: Fields that the programs read, by the constants that say where they are; the kernel's own types know.
FIELDS = {
    "socket_cookie_offset": ("sock_common", "skc_cookie"),
    "socket_data_offset": ("sock", "sk_user_data"),
    "socket_unread_offset": ("sk_psock", "msg_tot_len"),
    "socket_written_offset": ("tcp_sock", "write_seq"),
    "socket_acknowledged_offset": ("tcp_sock", "snd_una"),
    "socket_received_offset": ("tcp_sock", "rcv_nxt"),
    "socket_read_offset": ("tcp_sock", "copied_seq"),
}
_SO_NETNS_COOKIE = 71


def require_counts() -> None:
    """Raise OSError when this kernel does not count what a socket has not read, or does not say where."""
    types = KernelTypes.running()
    for field in FIELDS.values():
        types.field_offset(*field)


def attach_sockmap(settings: Settings, directory: Path, maps: Mapping[str, Map]) -> int:
    """See to it that the programs are attached; returns how many links that took. Raises OSError.

    ``directory`` is for pins, ``maps`` are those of the endpoints' programs. Connections that a former
    version carried go by packets from then on.
    """
    elf = packaged_object(OBJECT)
    constants = {**node_constants(settings), "socket_namespace": _namespace()}
    home = directory / version(elf, constants, maps)
    if (home / _MEET).exists():
        return 0
    retire_sockmap(directory)
    home.mkdir(parents=True)
    spec = CollectionSpec.parse(elf)
    spec.require_contract(abi.CONTRACT_HASH)
    types = KernelTypes.running()
    places = {name: types.field_offset(*field) for name, field in FIELDS.items()}
    spec = pruned(spec.with_constants({**constants, **places}))
    used = {name: each for name, each in maps.items() if name in spec.maps}
    sizes = {name: each.info.max_entries for name, each in used.items()}
    with Collection.load(spec, max_entries=sizes, maps=used) as collection:
        sockets = collection.maps[_SOCKETS]
        for name in (_PAIRS, _SOCKETS):
            collection.maps[name].pin(home / name)
        with Link.attach_map(collection.programs[_CARRY], sockets, AttachType.SK_MSG_VERDICT) as link:
            link.pin(home / _CARRY)
        with Link.attach_cgroup(
            collection.programs[_MEET], cgroup_root(), AttachType.CGROUP_SOCK_OPS
        ) as link:
            link.pin(home / _MEET)
    return 2


def retire_sockmap(directory: Path) -> int:
    """Take up no more connections, and have those that are there go by packets. Raises OSError.

    Returns how many programs had taken up some. A socket keeps the program that it had when it came into the
    map, so that has to find no other end for it; and what it has to read already would be lost with the map,
    whose pin stays as long as there are sockets in it.
    """
    retired = 0
    for meeting in sorted(directory.glob(f"*/{_MEET}")):
        with Link.open(meeting.with_name(_CARRY)) as link:
            former = directory / f"{_FORMER}-{link.info.id}"
        meeting.unlink()
        with Map.open(meeting.with_name(_PAIRS)) as pairs:
            for key in list(pairs.keys()):
                pairs.delete(key)
        meeting.parent.rename(former)
        retired += 1
    for former in list(directory.glob("*")):
        if not (former.name.startswith(_FORMER) and _has_sockets(former)):
            remove_tree(former)
    return retired


def _has_sockets(former: Path) -> bool:
    """Whether somebody's connection is not closed yet."""
    with Map.open(former / _SOCKETS) as sockets:
        return next(iter(sockets.keys()), None) is not None


def _namespace() -> int:
    """The kernel's number of this thread's network namespace. Source: socket(7), SO_NETNS_COOKIE."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        return int.from_bytes(here.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little")
