"""Worlds as facts: what an agent would tell the engine when one becomes another."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from kinety.model.address import Prefix, pack_address
from kinety.model.label import Labels
from kinety.plan.engine import Engine
from kinety.plan.fact import (
    CidrGroupRemoved,
    CidrGroupUpserted,
    EndpointRemoved,
    EndpointUpserted,
    Fact,
    HostAddressesChanged,
    NamesLearnt,
    NodeLabelsChanged,
    PeerRemoved,
    PeerUpserted,
    PolicyRemoved,
    PolicyUpserted,
    ServiceRemoved,
    ServiceUpserted,
)
from kinety.policy.document import Document
from kinety.policy.parse import Objects, parse_objects
from tests.judges.worlds import HOST, Workload, World


def objects_of(documents: Iterable[dict[str, Any]]) -> Objects:
    """Documents as they are read. Raises PolicyError."""
    written = [Document(f"{i}.json", json.dumps(each)) for i, each in enumerate(documents)]
    return parse_objects(written)


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
    facts += _told(before, after)
    held, new = objects_of(before.everything_written), objects_of(after.everything_written)
    facts += _referred_to(held, new)
    gone = {policy.key for policy in held.policies} - {policy.key for policy in new.policies}
    facts += (PolicyRemoved(key) for key in sorted(gone))
    facts += (PolicyUpserted(policy) for policy in new.policies)
    return facts


def _told(before: World, after: World) -> Iterator[Fact]:
    """Labels of the node, and DNS names."""
    yield NodeLabelsChanged(after.node)
    names = dict(after.names)
    for address in sorted({*dict(before.names), *names}):
        yield NamesLearnt(Prefix(pack_address(address), 128), names.get(address, frozenset()))


def _referred_to(before: Objects, after: Objects) -> Iterator[Fact]:
    """Groups of prefixes, and services."""
    groups = {each.name for each in after.cidr_groups}
    yield from (CidrGroupRemoved(each.name) for each in before.cidr_groups if each.name not in groups)
    yield from map(CidrGroupUpserted, after.cidr_groups)
    services = {(each.namespace, each.name) for each in after.services}
    for each in before.services:
        if (each.namespace, each.name) not in services:
            yield ServiceRemoved(each.namespace, each.name)
    yield from map(ServiceUpserted, after.services)


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
