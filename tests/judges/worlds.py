"""Random worlds from a seed: who there is, what is told of them, and policies in the whole language."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

from kinety.model.address import pack_address, unpack_address
from kinety.model.endpoint import Endpoint, EndpointId, Listen
from kinety.model.label import NODE, Label, Labels, labels_of_endpoint
from kinety.testing.oracle import Party
from tests.judges import corners
from tests.judges.dense import condensed
from tests.judges.language import THEMES, document, edited
from tests.judges.objects import groups, services
from tests.judges.vocabulary import KEYS, NAMES, NAMESPACES, NODE_LABELS, PORT_NAMES, namespace

#: Endpoint number n of a world is always at these addresses plus n, the last two at one of them only.
LOCAL_NETWORKS = {4: ip_address("10.240.0.0"), 6: ip_address("fd00::")}
ELSEWHERE_NETWORKS = {4: ip_address("10.240.1.0"), 6: ip_address("fd00:1::")}
MOST_ENDPOINTS = 6
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
    listens: frozenset[Listen] = frozenset()


@dataclass(frozen=True, slots=True)
class World:
    """Endpoints here, workloads elsewhere, policies, the objects that they refer to, and what is told.

    ``names`` are the DNS names of addresses outside, ``node`` is the labels of this node.
    """

    seed: int
    endpoints: tuple[Endpoint, ...]
    elsewhere: tuple[Workload, ...]
    documents: tuple[dict[str, Any], ...]
    objects: tuple[dict[str, Any], ...] = ()
    names: tuple[tuple[str, frozenset[str]], ...] = ()
    node: Labels = frozenset()

    @property
    def everything_written(self) -> tuple[dict[str, Any], ...]:
        """All documents, as the oracle reads them."""
        return (*self.objects, *self.documents)


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
    elsewhere = tuple(_workload(rng, number) for number in range(1, rng.randint(1, 4)))
    documents = _distinct(_documents(rng))
    objects = (*groups(rng), *services(rng))
    return World(seed, endpoints, elsewhere, documents, objects, _names(rng), _node(rng))


def _documents(rng: random.Random) -> list[dict[str, Any]]:
    """Policies as they come, or some that have much to do with each other."""
    if rng.random() < 0.25:
        return [corners.document(rng, number) for number in range(rng.randint(2, 5))]
    kinds = rng.choice(THEMES)
    count = rng.randint(1, 7) if rng.random() < 0.95 else 20
    written = [document(rng, number, kinds) for number in range(count)]
    if rng.random() < 0.4:
        written = [condensed(rng, each) for each in written]
    return written


def changed(rng: random.Random, scene: World) -> World:
    """A world in which one thing is different: a policy, an object, or what is told of somebody."""
    documents = list(scene.documents)
    match rng.choice(
        ["put", "edit", "edit", "drop", "endpoint", "endpoint", "come or go", "elsewhere", "told"]
    ):
        case "put":
            write = corners.document if rng.random() < 0.4 else document
            fresh = write(rng, rng.randint(0, 6))
            documents = [each for each in documents if name_of(each) != name_of(fresh)]
            documents.insert(rng.randint(0, len(documents)), fresh)
        case "edit" if documents:
            index = rng.randrange(len(documents))
            documents[index] = edited(rng, documents[index])
        case "drop" if documents:
            del documents[rng.randrange(len(documents))]
        case "elsewhere" if scene.elsewhere:
            one, *others = scene.elsewhere
            number = int(one.name[1:])
            return replace(scene, elsewhere=(_workload(rng, number), *others))
        case "told":
            return _told_anew(rng, scene)
        case "come or go":
            return replace(scene, endpoints=_come_or_gone(rng, scene.endpoints))
        case _:
            index = rng.randrange(len(scene.endpoints))
            endpoints = list(scene.endpoints)
            endpoints[index] = _changed_endpoint(rng, endpoints[index])
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
            if address is not None:
                seen = party(endpoint.labels, address, endpoint.listens)
                yield End(endpoint.name, seen, address, endpoint)
    for workload in scene.elsewhere:
        for address in (workload.ipv4, workload.ipv6):
            yield End(workload.name, party(workload.labels, address, workload.listens), address)
    names = dict(scene.names)
    for text in OUTSIDE:
        seen = Party("outside", address=text, names=names.get(text, frozenset()))
        yield End(text, seen, pack_address(text))
    for text in HOST.values():
        yield End("host", Party("host", _triples(scene.node), text), pack_address(text))


def party(labels: Labels, address: bytes, listens: Iterable[Listen] = ()) -> Party:
    """An endpoint as the oracle sees it, at one of its addresses."""
    ports = frozenset((each.name, each.protocol, each.port) for each in listens)
    return Party("endpoint", _triples(labels), str(unpack_address(address)), ports)


def _triples(labels: Labels) -> frozenset[tuple[str, str, str]]:
    return frozenset((each.source, each.key, each.value) for each in labels)


def _distinct(documents: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    return tuple({name_of(each): each for each in documents}.values())


def _told_anew(rng: random.Random, scene: World) -> World:
    """Groups, services, names of addresses, or the node's labels are others."""
    match rng.choice(["objects", "objects", "names", "node"]):
        case "objects":
            return replace(scene, objects=(*groups(rng), *services(rng)))
        case "names":
            return replace(scene, names=_names(rng))
        case _:
            return replace(scene, node=_node(rng))


def _come_or_gone(rng: random.Random, former: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """One endpoint more, which has an address that somebody had, or one less."""
    absent = set(range(1, MOST_ENDPOINTS + 1)) - {endpoint.id for endpoint in former}
    if absent and (len(former) < 3 or rng.random() < 0.5):
        return (*former, _endpoint(rng, min(absent)))
    gone = rng.randrange(len(former))
    return (*former[:gone], *former[gone + 1 :])


def _changed_endpoint(rng: random.Random, former: Endpoint) -> Endpoint:
    if rng.random() < 0.4:
        return replace(former, listens=_listens(rng))
    return replace(former, labels=_labels(rng, former.namespace))


def _endpoint(rng: random.Random, number: int) -> Endpoint:
    own = namespace(rng)
    ipv4, ipv6 = (pack_address(network + number) for network in LOCAL_NETWORKS.values())
    return Endpoint(
        EndpointId(number),
        own,
        f"e{number}",
        _labels(rng, own),
        None if number == MOST_ENDPOINTS else ipv4,
        None if number == MOST_ENDPOINTS - 1 else ipv6,
        _listens(rng),
    )


def _workload(rng: random.Random, number: int) -> Workload:
    addresses = [pack_address(network + number) for network in ELSEWHERE_NETWORKS.values()]
    labels = _labels(rng, namespace(rng))
    return Workload(f"w{number}", labels, *addresses, _listens(rng))


def _labels(rng: random.Random, namespace: str) -> Labels:
    own = [
        Label("container" if rng.random() < 0.1 else "k8s", key, rng.choice(values))
        for key, values in KEYS.items()
        if rng.random() < 0.7
    ]
    return labels_of_endpoint(namespace, own, NAMESPACES[namespace])


def _listens(rng: random.Random) -> frozenset[Listen]:
    """Ports with names; the same name may be another port elsewhere, and two ports here."""
    found = set()
    for name, ports in PORT_NAMES.items():
        if rng.random() < 0.6:
            found |= {Listen(name, *port) for port in rng.sample(ports, rng.choice([1, 1, 2]))}
    return frozenset(found)


def _names(rng: random.Random) -> tuple[tuple[str, frozenset[str]], ...]:
    chosen = [text for text in OUTSIDE if rng.random() < 0.5]
    return tuple((text, frozenset(rng.sample(NAMES, rng.randint(1, 2)))) for text in chosen)


def _node(rng: random.Random) -> Labels:
    return frozenset(
        Label(NODE, key, rng.choice(values)) for key, values in NODE_LABELS.items() if rng.random() < 0.7
    )
