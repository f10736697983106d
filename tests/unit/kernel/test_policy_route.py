"""Rules and the local route, in a namespace of their own, as ip(8) lists them."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from functools import partial

import pytest

from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.kernel.policy_route import (
    FAMILIES,
    Rule,
    local_route_add,
    local_route_delete,
    rule_add,
    rule_delete,
)

pytestmark = pytest.mark.needs("root", "netns")

TABLE = 19999
TARGET, AROUND, LOOK = Rule(30), Rule(28, 0x200, 0xF00, "lo", goto=30), Rule(29, 0x200, 0xF00, table=TABLE)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace.create(f"kt-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        made.call(partial(subprocess.run, ["ip", "link", "set", "lo", "up"], check=True))
        yield made
    finally:
        made.remove()


def said(namespace: Namespace, *words: str) -> list[str]:
    done = namespace.call(partial(subprocess.run, ["ip", *words], check=True, capture_output=True, text=True))
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("family", FAMILIES, ids=["IPv4", "IPv6"])
def test_rules_come_and_go(namespace: Namespace, family: int) -> None:
    before = said(namespace, "-f", "inet" if family == FAMILIES[0] else "inet6", "rule")
    listing = ["-f", "inet" if family == FAMILIES[0] else "inet6", "rule"]
    with Netlink(namespace) as netlink:
        for rule in (TARGET, AROUND, LOOK):
            with netlink.batch() as batch:
                rule_add(batch, family, rule)
        assert [line for line in said(namespace, *listing) if line not in before] == [
            "28: from all fwmark 0x200/0xf00 iif lo goto 30",
            f"29: from all fwmark 0x200/0xf00 lookup {TABLE}",
            "30: from all nop",
        ]
        with pytest.raises(FileExistsError, match="add rule"), netlink.batch() as batch:
            rule_add(batch, family, LOOK)
        for rule in (LOOK, AROUND, TARGET):
            with netlink.batch() as batch:
                rule_delete(batch, family, rule)
        assert said(namespace, *listing) == before
        with pytest.raises(FileNotFoundError), netlink.batch() as batch:
            rule_delete(batch, family, LOOK)


@pytest.mark.parametrize("family", FAMILIES, ids=["IPv4", "IPv6"])
def test_everything_in_a_table_is_delivered_here(namespace: Namespace, family: int) -> None:
    listing = ["-f", "inet" if family == FAMILIES[0] else "inet6", "route", "show", "table", str(TABLE)]
    with Netlink(namespace) as netlink:
        with netlink.batch() as batch:
            local_route_add(batch, family, TABLE)
        [route] = said(namespace, *listing)
        assert route.startswith("local default dev lo")
        with pytest.raises(FileExistsError), netlink.batch() as batch:
            local_route_add(batch, family, TABLE)
        with netlink.batch() as batch:
            local_route_delete(batch, family, TABLE)
        assert said(namespace, *listing) == []
        with pytest.raises(ProcessLookupError), netlink.batch() as batch:
            local_route_delete(batch, family, TABLE)
