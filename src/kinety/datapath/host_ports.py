"""Host ports: nftables leads ports of the node to ports of endpoints.

A table of its own, ``kinety_ports``, has maps from protocol and port, with or without an address of the
node's, to an endpoint's address and port. A packet to an address of the node looks there once, when its
connection begins: on its way in, or out of a process of the node's. An endpoint more is an element more;
the table is written as a whole only when it is not there or holds something else.

Whoever comes keeps its own address, because policy judges by that. Two cannot: an endpoint that comes back to
itself would answer itself, and a process of the node's that asked 127.0.0.1 has no address elsewhere. These
get the node's. What is sent to ::1 has no way out of the node at all, so nothing is led from there.
"""

import hashlib
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kinety.kernel.connection import Connection, connections_to, forget
from kinety.kernel.netlink import Netlink
from kinety.model.address import IPAddress, pack_address, unpack_address
from kinety.model.endpoint import PROTOCOL_NAMES, Endpoint, EndpointId
from kinety.model.host_port import HostPort

from . import nft
from .nft import Json
from .settings import INTERFACE_PREFIX

TABLE = "kinety_ports"
_SYSCTL = Path("/proc/sys/net/ipv4/conf")


@dataclass(frozen=True, slots=True)
class Element:
    """One line of a map or, without ``value``, of a set. Numbers are ports."""

    place: str
    key: tuple[str | int, ...]
    value: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        """As nft takes it."""
        return " : ".join(" . ".join(map(str, part)) for part in (self.key, self.value) if part)


def elements(endpoint: Endpoint, ports: Iterable[HostPort]) -> Iterator[Element]:
    """What leads host ports to an endpoint, in those families that it has an address of."""
    for packed in (endpoint.ipv4, endpoint.ipv6):
        if packed is None:
            continue
        own = unpack_address(packed)
        served = [each for each in ports if each.serves(own.version)]
        if served:
            yield Element(f"own{own.version}", (str(own), str(own)))
        for port in served:
            key = PROTOCOL_NAMES[port.protocol].lower(), port.port
            value = str(own), port.endpoint_port
            if port.anywhere or port.address is None:
                yield Element(f"anywhere{own.version}", key, value)
            else:
                yield Element(f"at{own.version}", (str(unpack_address(port.address)), *key), value)


class HostPorts:
    """The owner of the table: which ports of the node lead to which endpoint.

    The caller sees to it that no port is given twice.
    """

    def __init__(self) -> None:
        self._published: Mapping[EndpointId, tuple[Element, ...]] = {}
        self._departed: list[tuple[Endpoint, Sequence[HostPort]]] = []
        #: Transactions, and connections ended.
        self.writes = 0

    def publish(self, endpoint: Endpoint, ports: Sequence[HostPort], interface: str) -> None:
        """Lead ports to an endpoint from now on; ``interface`` is its host side. Raises OSError.

        Nothing is changed then. Datagrams that somebody sent in vain before arrive from now on, too.
        """
        wanted = tuple(elements(endpoint, ports))
        if not wanted:
            return
        if endpoint.ipv4 is not None and any(map(_from_loopback, ports)):
            (_SYSCTL / interface / "route_localnet").write_text("1")
        before = self._published
        self._published = {**before, endpoint.id: wanted}
        self._change("add", wanted, before)
        self.writes += forget(_in_vain(endpoint, ports))

    def withdraw(self, endpoint: Endpoint, ports: Sequence[HostPort]) -> None:
        """Lead no port to an endpoint any more. Raises OSError; nothing is changed then.

        Connections that came by them are ended by `end_departed`, for which nobody waits.
        """
        before = self._published
        if endpoint.id not in before:
            return
        self._published = {key: each for key, each in before.items() if key != endpoint.id}
        self._change("delete", before[endpoint.id], before)
        self._departed.append((endpoint, ports))

    def end_departed(self) -> bool:
        """End the connections that came by one endpoint's former host ports; False when there are none left.

        It takes 8 ms for each family, to look through all connections of the node. Raises OSError.
        """
        if not self._departed:
            return False
        self.writes += forget(_led(*self._departed[0]))
        del self._departed[0]
        return True

    def restore(self, published: Iterable[tuple[Endpoint, Sequence[HostPort]]]) -> None:
        """Lead these ports to these endpoints, and no others; writes only differences. Raises OSError."""
        self._published = {
            endpoint.id: wanted
            for endpoint, ports in published
            if (wanted := tuple(elements(endpoint, ports)))
        }
        if not self._published:
            self.writes += nft.delete_table(TABLE)
        elif _installed() != (_MARK, frozenset(self._elements())):
            self._write()
            self.writes += 1

    def _change(
        self, verb: str, changed: Sequence[Element], before: Mapping[EndpointId, tuple[Element, ...]]
    ) -> None:
        """Add or delete elements. Where that is refused the table is not what it was: it is written again."""
        try:
            if not self._published:
                nft.carry_out(nft.removal(TABLE))
            elif before and _accepted(_commands(verb, changed)):
                pass
            else:
                self._write()
        except BaseException:
            self._published = before
            raise
        self.writes += 1

    def _write(self) -> None:
        structure = _STRUCTURE.replace("MARK", f'comment "{_MARK}"')
        nft.carry_out(nft.removal(TABLE) + structure + _commands("add", self._elements()))

    def _elements(self) -> list[Element]:
        return [element for each in self._published.values() for element in each]


def _accepted(commands: str) -> bool:
    try:
        nft.carry_out(commands)
    except FileNotFoundError:  # nft itself
        raise
    except OSError:
        return False
    return True


def _from_loopback(port: HostPort) -> bool:
    """Whether a process of the node's may ask for it at 127.0.0.1."""
    return port.serves(4) and (
        port.anywhere or (port.address is not None and unpack_address(port.address).is_loopback)
    )


def _in_vain(endpoint: Endpoint, ports: Sequence[HostPort]) -> Iterator[Connection]:
    """Datagrams to ports of the node that began before these led anywhere; they would go on not to be led.

    TCP and SCTP do not need this: who was refused begins anew.
    """
    datagrams = [each for each in ports if each.protocol == socket.IPPROTO_UDP]
    local = _local_addresses() if datagrams else frozenset()
    for own, each, port in _connections(endpoint, datagrams):
        meant = port.anywhere or pack_address(each.destination) == port.address
        if meant and each.answerer != own and each.destination in local:
            yield each


def _led(endpoint: Endpoint, ports: Sequence[HostPort]) -> Iterator[Connection]:
    """Connections that came to an endpoint by its host ports."""
    for own, each, _ in _connections(endpoint, ports):
        if each.answerer == own != each.destination:
            yield each


def _connections(
    endpoint: Endpoint, ports: Sequence[HostPort]
) -> Iterator[tuple[IPAddress, Connection, HostPort]]:
    """The endpoint's address, a connection to a port of that number, and what leads from there."""
    for packed in filter(None, (endpoint.ipv4, endpoint.ipv6)):
        own = unpack_address(packed)
        family = socket.AF_INET if own.version == 4 else socket.AF_INET6
        for protocol in {each.protocol for each in ports}:
            served = [each for each in ports if each.protocol == protocol and each.serves(own.version)]
            numbers = frozenset(each.port for each in served)
            for found in connections_to(family, protocol, numbers) if numbers else ():
                yield from ((own, found, port) for port in served if port.port == found.port)


def _local_addresses() -> frozenset[IPAddress]:
    with Netlink() as netlink:
        return frozenset(each.address for each in netlink.addresses())


def _commands(verb: str, changed: Iterable[Element]) -> str:
    """One command for each map and set."""
    by_place: dict[str, list[str]] = {}
    for each in changed:
        by_place.setdefault(each.place, []).append(str(each))
    return "".join(
        f"{verb} element {nft.FAMILY} {TABLE} {place} {{ {', '.join(lines)} }}\n"
        for place, lines in by_place.items()
    )


def _installed() -> tuple[str | None, frozenset[Element]]:
    """The mark of the rules that are there, None when they are not whole; and all elements."""
    listed = nft.list_table(TABLE)
    marks = [item["rule"].get("comment") for item in listed if "rule" in item]
    whole = len(marks) == _RULES and len(set(marks)) == 1
    found = frozenset(
        _read(item[kind]["name"], each)
        for item in listed
        for kind in ("map", "set")
        if kind in item
        for each in item[kind].get("elem", ())
    )
    return marks[0] if whole else None, found


def _read(place: str, listed: Json | list[Json]) -> Element:
    key, value = listed if isinstance(listed, list) else (listed, {"concat": ()})
    return Element(place, tuple(key["concat"]), tuple(value["concat"]))


#: Maps, then who looks there, then who needs the node's address.
_STRUCTURE = f"""
table {nft.FAMILY} {TABLE} {{
    map at4 {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
    map at6 {{ type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }}
    map anywhere4 {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
    map anywhere6 {{ type inet_proto . inet_service : ipv6_addr . inet_service; }}
    set own4 {{ type ipv4_addr . ipv4_addr; }}
    set own6 {{ type ipv6_addr . ipv6_addr; }}
    chain lead {{
        ip6 daddr ::1 return MARK
        dnat ip to ip daddr . meta l4proto . th dport map @at4 MARK
        dnat ip6 to ip6 daddr . meta l4proto . th dport map @at6 MARK
        dnat ip to meta l4proto . th dport map @anywhere4 MARK
        dnat ip6 to meta l4proto . th dport map @anywhere6 MARK
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat;
        fib daddr type local jump lead MARK
    }}
    chain output {{
        type nat hook output priority -100;
        fib daddr type local jump lead MARK
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat - 1;
        ip saddr . ip daddr @own4 masquerade MARK
        ip6 saddr . ip6 daddr @own6 masquerade MARK
        oifname "{INTERFACE_PREFIX}*" ip saddr 127.0.0.0/8 masquerade MARK
    }}
}}
"""
_RULES = _STRUCTURE.count("MARK")
#: Differs where the structure does; a comment of each rule.
_MARK = hashlib.sha256(_STRUCTURE.encode()).hexdigest()[:16]
