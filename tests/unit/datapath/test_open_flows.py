"""Connections that are entered before anybody has judged them: by the programs' key, over no entry."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kinety import abi
from kinety.datapath.open_flows import enter, flow_of
from kinety.kernel.map import Map
from kinety.kernel.tcp import Connection
from kinety.model.address import pack_address

OWN, OTHER = pack_address("192.0.2.1"), pack_address("192.0.2.2")
OWN_IPV6, OTHER_IPV6 = pack_address("2001:db8::2:1"), pack_address("2001:db8::1:2")
HIGH = abi.ConntrackFlag.INITIATOR_HIGH


@pytest.mark.parametrize(
    ("connection", "low", "opened_by_high"),
    [
        (Connection(OWN, 22, OTHER, 40000, inbound=True), (OWN, 22), True),
        (Connection(OWN, 40000, OTHER, 443, inbound=False), (OWN, 40000), False),
        (Connection(OTHER, 22, OWN, 40000, inbound=True), (OWN, 40000), False),
        # In memory order, as the programs compare words: the last word decides.
        (Connection(OWN_IPV6, 22, OTHER_IPV6, 9, inbound=True), (OWN_IPV6, 22), True),
        (Connection(OWN_IPV6, 9, OTHER_IPV6, 22, inbound=False), (OWN_IPV6, 9), False),
    ],
)
def test_ends_are_in_the_programs_order(
    connection: Connection, low: tuple[bytes, int], opened_by_high: bool
) -> None:
    key, entry = flow_of(connection, 7)
    assert (key.low, key.low_port) == low
    assert {(key.low, key.low_port), (key.high, key.high_port)} == {
        (connection.local, connection.local_port),
        (connection.remote, connection.remote_port),
    }
    assert bool(entry.flags & HIGH) == opened_by_high
    assert entry.flags & abi.ConntrackFlag.REPLIED
    assert [decision.epoch for decision in entry.decision] == [0, 0]
    assert entry.last_seen == 7


def test_an_entry_that_is_there_stays(make: Callable[[str], Map]) -> None:
    conntrack = make("conntrack")
    connections = [Connection(OWN, port, OTHER, 443, inbound=False) for port in (40000, 40001)]
    assert enter(conntrack, connections[:1]) == 1
    (before,) = conntrack.items()
    assert enter(conntrack, connections) == 1
    assert before in list(conntrack.items())
    assert len(list(conntrack.items())) == 2
