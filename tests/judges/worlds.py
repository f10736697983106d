"""Random worlds from a seed: who there is, and policies in the whole of the supported language."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

from kinety.model.address import pack_address, unpack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.label import Label, Labels, labels_of_endpoint
from kinety.testing.oracle import Party
from tests.judges.language import KEYS, NAMESPACES, document, edited

#: Endpoint number n of a world is always at these addresses plus n.
LOCAL_NETWORKS = {4: ip_address("10.240.0.0"), 6: ip_address("fd00::")}
ELSEWHERE_NETWORKS = {4: ip_address("10.240.1.0"), 6: ip_address("fd00:1::")}
MOST_ENDPOINTS = 5
HOST = {4: "192.0.2.1", 6: "2001:db8:ff::1"}
OUTSIDE = (
    "10.1.2.3",
    "10.1.9.9",
    "10.2.0.1",
    "10.240.9.9",
    "172.16.0.5",
    "8.8.8.8",
    "2001:db8::1",
    "2001:db8:1::5",
    "fc00::9",
    "fd00::99",
)


@dataclass(frozen=True, slots=True)
class Workload:
    """An endpoint of another node, as far as this one knows it; addresses are 16 bytes."""

    name: str
    labels: Labels
    ipv4: bytes
    ipv6: bytes


@dataclass(frozen=True, slots=True)
class World:
    """Endpoints here, workloads elsewhere, and documents."""

    seed: int
    endpoints: tuple[Endpoint, ...]
    elsewhere: tuple[Workload, ...]
    documents: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class End:
    """One end of a flow: a party to the oracle, an address to the programs, and an endpoint when here."""

    name: str
    party: Party
    address: bytes
    endpoint: Endpoint | None = None


def world(seed: int) -> World:
    """The world of a seed."""
    rng = random.Random(seed)
    numbers = sorted(rng.sample(range(1, MOST_ENDPOINTS + 1), rng.randint(2, MOST_ENDPOINTS)))
    endpoints = tuple(_endpoint(rng, number) for number in numbers)
    elsewhere = tuple(_workload(rng, number) for number in range(1, rng.randint(1, 3)))
    documents = tuple(document(rng, number) for number in range(rng.randint(1, 4)))
    return World(seed, endpoints, elsewhere, documents)


def changed(rng: random.Random, scene: World) -> World:
    """A world in which one thing is different: a policy, or the labels of somebody."""
    documents = list(scene.documents)
    match rng.choice(["put", "edit", "edit", "drop", "relabel", "relabel elsewhere"]):
        case "put":
            fresh = document(rng, rng.randint(0, 4))
            documents = [each for each in documents if name_of(each) != name_of(fresh)]
            documents.insert(rng.randint(0, len(documents)), fresh)
        case "edit" if documents:
            index = rng.randrange(len(documents))
            documents[index] = edited(rng, documents[index])
        case "drop" if documents:
            del documents[rng.randrange(len(documents))]
        case "relabel elsewhere" if scene.elsewhere:
            one, *others = scene.elsewhere
            moved = replace(one, labels=_labels(rng, rng.choice(list(NAMESPACES))))
            return replace(scene, elsewhere=(moved, *others))
        case _:
            index = rng.randrange(len(scene.endpoints))
            former = scene.endpoints[index]
            labels = _labels(rng, former.namespace)
            endpoints = list(scene.endpoints)
            endpoints[index] = replace(former, labels=labels)
            return replace(scene, endpoints=tuple(endpoints))
    return replace(scene, documents=tuple(documents))


def name_of(found: dict[str, Any]) -> tuple[str, str, str]:
    """What makes two documents versions of one policy."""
    metadata = found["metadata"]
    return found["kind"], metadata.get("namespace", ""), metadata["name"]


def ends(scene: World) -> Iterator[End]:
    """Everybody in a world, once for each address."""
    for endpoint in scene.endpoints:
        for address in (endpoint.ipv4, endpoint.ipv6):
            assert address is not None
            yield End(endpoint.name, party(endpoint.labels, address), address, endpoint)
    for workload in scene.elsewhere:
        for address in (workload.ipv4, workload.ipv6):
            yield End(workload.name, party(workload.labels, address), address)
    for text in OUTSIDE:
        yield End(text, Party("outside", address=text), pack_address(text))
    for text in HOST.values():
        yield End("host", Party("host", address=text), pack_address(text))


def party(labels: Labels, address: bytes) -> Party:
    """An endpoint as the oracle sees it, at one of its addresses."""
    triples = frozenset((each.source, each.key, each.value) for each in labels)
    return Party("endpoint", triples, str(unpack_address(address)))


def _endpoint(rng: random.Random, number: int) -> Endpoint:
    namespace = rng.choice(list(NAMESPACES))
    addresses = (pack_address(network + number) for network in LOCAL_NETWORKS.values())
    return Endpoint(EndpointId(number), namespace, f"e{number}", _labels(rng, namespace), *addresses)


def _workload(rng: random.Random, number: int) -> Workload:
    labels = _labels(rng, rng.choice(list(NAMESPACES)))
    addresses = (pack_address(network + number) for network in ELSEWHERE_NETWORKS.values())
    return Workload(f"w{number}", labels, *addresses)


def _labels(rng: random.Random, namespace: str) -> Labels:
    own = [
        Label("container" if rng.random() < 0.1 else "k8s", key, rng.choice(values))
        for key, values in KEYS.items()
        if rng.random() < 0.7
    ]
    return labels_of_endpoint(namespace, own, NAMESPACES[namespace])
