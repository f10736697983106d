"""Worlds as facts: what an agent would tell the engine when one becomes another."""

import json
from collections.abc import Iterable
from functools import lru_cache
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
    """Documents as they are read, each a file of its own. Raises PolicyError."""
    read = (_read(f"{each['metadata']['name']}.json", json.dumps(each)).by_key for each in documents)
    return Objects({key: found for by_key in read for key, found in by_key.items()})


@lru_cache(maxsize=512)
def _read(file: str, text: str) -> Objects:
    """One document. From world to world most of them stay what they are."""
    return parse_objects([Document(file, text)])


def difference(before: World | None, after: World) -> list[Fact]:
    """The facts that turn one world into another, and no others; from nothing, when there was none."""
    had = {} if before is None else _told(before)
    has = _told(after)
    gone = [_opposite(fact) for key, fact in had.items() if key not in has]
    return gone + [fact for key, fact in has.items() if had.get(key) != fact]


def _told(scene: World) -> dict[object, Fact]:
    """Everything that is to be told of a world, by what it is about."""
    objects = objects_of(scene.everything_written)
    told: dict[object, Fact] = {
        "host": HostAddressesChanged(frozenset(map(pack_address, HOST.values()))),
        "node": NodeLabelsChanged(scene.node),
    }
    for endpoint in scene.endpoints:
        told[endpoint.id] = EndpointUpserted(endpoint)
    for prefix, labels in _peers(scene.elsewhere):
        told["peer", prefix] = PeerUpserted(prefix, labels)
    for address, names in scene.names:
        prefix = Prefix(pack_address(address), 128)
        told["names", prefix] = NamesLearnt(prefix, names)
    for group in objects.cidr_groups:
        told["group", group.name] = CidrGroupUpserted(group)
    for service in objects.services:
        told[service.namespace, service.name] = ServiceUpserted(service)
    for policy in objects.policies:
        told[policy.key] = PolicyUpserted(policy)
    return told


def _opposite(fact: Fact) -> Fact:
    """What is told when something is not so any more."""
    match fact:
        case EndpointUpserted(endpoint):
            return EndpointRemoved(endpoint.id)
        case PeerUpserted(prefix):
            return PeerRemoved(prefix)
        case NamesLearnt(prefix):
            return NamesLearnt(prefix, frozenset())
        case CidrGroupUpserted(group):
            return CidrGroupRemoved(group.name)
        case ServiceUpserted(service):
            return ServiceRemoved(service.namespace, service.name)
        case PolicyUpserted(policy):
            return PolicyRemoved(policy.key)
        case _:
            raise AssertionError(f"{fact} is never taken back")


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
