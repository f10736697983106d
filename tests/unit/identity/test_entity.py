import pytest

from kinety.identity.entity import ENTITIES, is_complement, labels_of, matches
from kinety.identity.prefix_index import labels_of as labels_of_prefix
from kinety.model.address import Prefix
from kinety.model.identity import ReservedIdentity
from kinety.model.label import Label, Labels
from tests.unit.plan.naive import is_member
from tests.unit.plan.saying import labels

POD = labels(app="a")
V4, V6 = (labels_of_prefix(Prefix.parse(text)) for text in ("8.8.8.0/24", "2001:db8::/32"))
#: A pod that calls itself the world, by a label of its own.
BOASTER = frozenset({Label("k8s", "world", ""), Label("any", "host", "")})
PEERS = {each.name: each.labels for each in ReservedIdentity} | {
    "pod": POD,
    "IPv4 prefix": V4,
    "IPv6 prefix": V6,
    "boaster": BOASTER,
}

#: Who belongs, by the documented meaning of each entity.
MEMBERS = {
    "world": {"WORLD", "WORLD_IPV4", "WORLD_IPV6", "IPv4 prefix", "IPv6 prefix"},
    "world-ipv4": {"WORLD_IPV4", "IPv4 prefix"},
    "world-ipv6": {"WORLD_IPV6", "IPv6 prefix"},
    "host": {"HOST"},
    "remote-node": {"REMOTE_NODE"},
    "init": {"INIT"},
    "ingress": {"INGRESS"},
    "unmanaged": {"UNMANAGED"},
    "health": {"HEALTH"},
    "kube-apiserver": {"KUBE_APISERVER"},
    "none": set(),
}
MEMBERS["cluster"] = PEERS.keys() - MEMBERS["world"]


def test_every_entity_has_its_members_written_down() -> None:
    assert MEMBERS.keys() == ENTITIES


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("entity", MEMBERS)
def test_members(entity: str, name: str) -> None:
    assert matches(entity, PEERS[name]) is (name in MEMBERS[entity])
    assert is_member(entity, PEERS[name]) is (name in MEMBERS[entity]), "the oracle says so, too"


@pytest.mark.parametrize("peer", [*PEERS.values(), frozenset()])
def test_the_world_and_the_cluster_are_everybody_once(peer: Labels) -> None:
    assert matches("world", peer) is not matches("cluster", peer)


def test_only_the_cluster_is_said_by_what_its_members_lack() -> None:
    assert {entity for entity in ENTITIES if is_complement(entity)} == {"cluster"}
    assert labels_of("cluster") == labels_of("world")


@pytest.mark.parametrize("name", ["all", "World", "", "pod"])
def test_what_is_no_entity_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(ValueError, match="is no entity; write one of cluster, health, host"):
        labels_of(name)
    with pytest.raises(ValueError, match="is no entity"):
        matches(name, POD)
