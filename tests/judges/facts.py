"""Worlds as facts: what an agent would tell the engine when one becomes another."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from kinety.model.address import Prefix, pack_address
from kinety.model.label import Labels
from kinety.model.reference import CidrGroup, Service
from kinety.model.rule import Policy
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
    if after.node != before.node:
        facts.append(NodeLabelsChanged(after.node))
    facts += _names(dict(before.names), dict(after.names))
    facts += _objects(objects_of(before.everything_written), objects_of(after.everything_written))
    return facts


def _names(before: Mapping[str, frozenset[str]], after: Mapping[str, frozenset[str]]) -> Iterable[Fact]:
    for address in sorted(before.keys() | after.keys()):
        yield NamesLearnt(Prefix(pack_address(address), 128), after.get(address, frozenset()))


def _objects(before: Objects, after: Objects) -> Iterable[Fact]:
    for key in sorted(before.by_key.keys() - after.by_key.keys()):
        match before.by_key[key]:
            case Policy():
                yield PolicyRemoved(key)
            case CidrGroup(name=name):
                yield CidrGroupRemoved(name)
            case Service(namespace=namespace, name=name):
                yield ServiceRemoved(namespace, name)
    yield from map(CidrGroupUpserted, after.cidr_groups)
    yield from map(ServiceUpserted, after.services)
    yield from map(PolicyUpserted, after.policies)


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
