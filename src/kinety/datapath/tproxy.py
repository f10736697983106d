"""The redirect ``tproxy``: nftables gives packets their sockets (decision 0042).

The programs judge as ever and say what is to be done: a mark (``Mark.UNLED``) that only a packet for a proxy
bears, and in its priority the listener's port, or one of ``abi.Lead``. A table of Kinety's does it, before
connection tracking, and takes the mark's last bit away. From there on all is as with ``sk_assign``: the mark
tells the client's identity, and routing delivers the packet to this host.

The order matters. What opens a connection goes to the listener by a rule of its own: there the kernel clears
the rest of a former connection (TIME_WAIT) out of the way. ``socket transparent``, which takes packets of
connections that are there, would find that rest and keep it.

A listener more is an element more. What leads to a port where nobody listens matches no rule, and ends.
"""

from collections.abc import Collection, Iterable

from kinety import abi

from . import nft
from .nft import Json

_PORTS = "ports"
#: Before connection tracking (NF_IP_PRI_RAW).
_PRIORITY = -300
_KIND = int(abi.Mark.KIND & ~abi.Mark.ANSWERED_HERE)
_UNLED = int(abi.Mark.TO_PROXY | abi.Mark.UNLED)
_LED = 0xFFFFFFFF ^ int(abi.Mark.UNLED)
_LOOPBACK = {"ip": ("ipv4", "127.0.0.1"), "ip6": ("ipv6", "::1")}


class TproxyTable:
    """The owner of the table."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._led: frozenset[int] | None = None

    def lead(self, ports: Collection[int]) -> int:
        """See to it that packets come to these ports; returns how many transactions that took.

        Ports of former listeners stay. Raises OSError.
        """
        if self._led is None:
            self._led = self._installed()
        wanted = frozenset(ports)
        if self._led is None:
            nft.replace_table(self._name, list(self._commands(wanted)))
            self._led = wanted
        elif missing := wanted - self._led:
            self._add(missing)
        else:
            return 0
        return 1

    def _add(self, ports: frozenset[int]) -> None:
        """Where that is refused, somebody has removed the table: it is written again."""
        led = (self._led or frozenset()) | ports
        try:
            nft.carry_out(f"add element {nft.FAMILY} {self._name} {_PORTS} {{ {_elements(ports)} }}\n")
        except OSError:
            nft.replace_table(self._name, list(self._commands(led)))
        self._led = led

    def _installed(self) -> frozenset[int] | None:
        """The ports of a table that a former agent left; None when there is none of this kind."""
        for item in nft.list_table(self._name):
            found = item.get("map", {})
            if found.get("name") == _PORTS:
                return frozenset(port for _, port in found.get("elem", ()))
        return None

    def _commands(self, ports: Iterable[int]) -> Iterable[Json]:
        place = {"family": nft.FAMILY, "table": self._name}
        elements = [[_class(port), port] for port in ports]
        yield {
            "add": {
                "map": {**place, "name": _PORTS, "type": "classid", "map": "inet_service", "elem": elements}
            }
        }
        for hook, rules in (("prerouting", _rules()), ("output", _answers())):
            chain = {"name": hook, "type": "filter", "hook": hook, "prio": _PRIORITY, "policy": "accept"}
            yield {"add": {"chain": {**place, **chain}}}
            for rule in rules:
                yield {"add": {"rule": {**place, "chain": hook, "expr": rule}}}


def _rules() -> Iterable[list[Json]]:
    mark, priority = {"meta": {"key": "mark"}}, {"meta": {"key": "priority"}}
    led: Json = {"mangle": {"key": mark, "value": {"&": [mark, _LED]}}}
    yield [_match({"&": [mark, _KIND]}, _UNLED, "!="), {"accept": None}]
    yield [{"notrack": None}]
    yield [
        _match({"meta": {"key": "l4proto"}}, "tcp"),
        _match(priority, _class(abi.Lead.TO_RESET)),
        {"reject": {"type": "tcp reset"}},
    ]
    for family, (version, address) in _LOOPBACK.items():
        port = {"map": {"key": priority, "data": f"@{_PORTS}"}}
        yield [
            _match({"meta": {"key": "nfproto"}}, version),
            _match({"meta": {"key": "l4proto"}}, {"set": ["tcp", "udp"]}),
            {"tproxy": {"family": family, "addr": address, "port": port}},
            led,
            {"accept": None},
        ]
    of_a_connection = _match(priority, _class(abi.Lead.TO_SOCKET))
    yield [of_a_connection, _match({"socket": {"key": "transparent"}}, 1), led, {"accept": None}]
    yield [{"drop": None}]


def _answers() -> Iterable[list[Json]]:
    """As with other redirects."""
    mark = {"&": [{"meta": {"key": "mark"}}, _KIND | int(abi.Mark.TURNED)]}
    yield [_match(mark, int(abi.Mark.TO_PROXY)), {"notrack": None}]


def _match(left: Json, right: object, operator: str = "==") -> Json:
    return {"match": {"op": operator, "left": left, "right": right}}


def _class(priority: int) -> str:
    """A priority as nftables writes it: two halves, in hexadecimal."""
    return f"{priority >> 16:x}:{priority & 0xFFFF:x}"


def _elements(ports: Iterable[int]) -> str:
    return ", ".join(f"{_class(port)} : {port}" for port in sorted(ports))
