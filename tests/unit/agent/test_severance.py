"""What policies about the node cut is told before: open connections, and ports that close to the world."""

from __future__ import annotations

import pytest

from kinety.agent.node import parse_files
from kinety.agent.severance import warnings
from kinety.api.types import Document
from kinety.kernel.tcp import Connection, TcpSockets
from kinety.model.address import pack_address
from kinety.plan.change import Change
from kinety.plan.engine import Engine
from kinety.plan.fact import HostAddressesChanged, NodeAudited, NodeLabelsChanged

OWN, OUTSIDE = pack_address("192.0.2.1"), pack_address("198.51.100.7")
SSH = Connection(OWN, 22, OUTSIDE, 40000, inbound=True)
WEB = Connection(OWN, 40001, OUTSIDE, 443, inbound=False)
ITSELF = Connection(OWN, 22, OWN, 40002, inbound=True)
SOCKETS = TcpSockets((SSH, WEB, ITSELF), frozenset({22, 8080}))
POLICY = """apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: node}
spec:
  nodeSelector: {}
"""
LETS_NOTHING_IN = POLICY + "  ingress: [{}]\n"
LETS_SSH_IN = POLICY + (
    "  ingress: [{fromEntities: [world], toPorts: [{ports: [{port: '22', protocol: TCP}]}]}]\n"
)
LETS_NOTHING_OUT = POLICY + "  egress: [{}]\n"


def changed(text: str, *, audit: bool = False) -> tuple[Engine, Change]:
    engine = Engine()
    (file,) = parse_files([Document("node.yaml", text)])
    facts = [each.fact for each in file.declarations.values() if each.fact is not None]
    own = [HostAddressesChanged(frozenset({OWN})), NodeLabelsChanged(frozenset()), NodeAudited(audit)]
    return engine, engine.change([*own, *facts])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            LETS_NOTHING_IN,
            (
                "this cuts 1 of the 2 TCP connections that the node has open: 198.51.100.7 to port 22",
                "nobody outside reaches the node's TCP ports 22, 8080",
            ),
        ),
        (LETS_SSH_IN, ("nobody outside reaches the node's TCP ports 8080",)),
        (
            LETS_NOTHING_OUT,
            ("this cuts 1 of the 2 TCP connections that the node has open: to 198.51.100.7 port 443",),
        ),
        (POLICY.replace("{}", "{matchLabels: {zone: b}}") + "  ingress: [{}]\n", ()),
    ],
)
def test_what_is_cut_is_told(text: str, told: tuple[str, ...]) -> None:
    assert warnings(*changed(text), frozenset({OWN}), SOCKETS) == told


def test_in_audit_nothing_is_cut() -> None:
    assert warnings(*changed(LETS_NOTHING_IN, audit=True), frozenset({OWN}), SOCKETS) == ()


def test_many_are_counted_and_a_few_named() -> None:
    many = tuple(Connection(OWN, 22, OUTSIDE, port, inbound=True) for port in range(40000, 40009))
    (connections, _) = warnings(
        *changed(LETS_NOTHING_IN), frozenset({OWN}), TcpSockets(many, frozenset({22}))
    )
    assert connections.startswith("this cuts 9 of the 9 TCP connections")
    assert connections.endswith(" and 4 more")
