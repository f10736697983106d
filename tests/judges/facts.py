"""Worlds as facts: what an agent would tell the engine when one becomes another."""

import json
from collections.abc import Iterable
from typing import Any

from kinety.model.address import Prefix, pack_address
from kinety.model.label import Labels
from kinety.plan.engine import Engine
from kinety.plan.fact import (
    EndpointRemoved,
    EndpointUpserted,
    Fact,
    HostAddressesChanged,
    PeerRemoved,
    PeerUpserted,
    PolicyRemoved,
    PolicyUpserted,
)
from kinety.policy.document import Document
from kinety.policy.parse import Objects, parse_objects
from tests.judges.worlds import HOST, Workload, World


def objects_of(documents: Iterable[dict[str, Any]]) -> Objects:
    """Documents as they are read. Raises PolicyError."""
    return parse_objects([Document(f"{i}.json", json.dumps(each)) for i, each in enumerate(documents)])


def difference(before: World | None, after: World) -> list[Fact]:
    """The facts that turn one world into another; from nothing, when there was none."""
    facts: list[Fact] = []
    if before is None:
        facts.append(HostAddressesChanged(frozenset(map(pack_address, HOST.values()))))
        before = World(after.seed, (), (), ())
    here = {endpoint.id for endpoint in after.endpoints}
    facts += (EndpointRemoved(each.id) for each in before.endpoints if each.id not in here)
    facts += (EndpointUpserted(each) for each in after.endpoints if each not in before.endpoints)
    known = dict(_peers(before.elsewhere))
    wanted = dict(_peers(after.elsewhere))
    facts += (PeerRemoved(prefix) for prefix in sorted(known.keys() - wanted.keys()))
    facts += (PeerUpserted(prefix, labels) for prefix, labels in wanted.items())
    held = {policy.key: policy for policy in objects_of(before.documents).policies}
    new = {policy.key: policy for policy in objects_of(after.documents).policies}
    facts += (PolicyRemoved(key) for key in sorted(held.keys() - new.keys()))
    facts += (PolicyUpserted(policy) for policy in new.values())
    return facts


def engine_of(scene: World) -> Engine:
    """A plan made for one world alone."""
    engine = Engine()
    engine.change(difference(None, scene))
    return engine


def _peers(workloads: Iterable[Workload]) -> Iterable[tuple[Prefix, Labels]]:
    for one in workloads:
        labels = one.labels | {each.label for each in one.listens}
        for address in (one.ipv4, one.ipv6):
            yield Prefix(address, 128), labels
