"""Everybody who can send or receive, in as few groups as verdicts can tell apart."""

from collections.abc import Iterator
from dataclasses import dataclass

from pyroaring import BitMap

from kinety.explain.difference import peers_of_anybody
from kinety.explain.judge import everybody_in, is_workload
from kinety.explain.naming import everybody_outside
from kinety.identity.prefix_index import IPV4_WORLD, IPV6_WORLD, selects
from kinety.model.address import Prefix
from kinety.model.identity import LOCAL_IDENTITY_BIT, Identity, ReservedIdentity
from kinety.model.selector import CidrSelector, PeerSelector
from kinety.plan.engine import Engine

_BOTH = frozenset({4, 6})
_FAMILIES = {ReservedIdentity.WORLD_IPV4: frozenset({4}), ReservedIdentity.WORLD_IPV6: frozenset({6})}
_WORLD = {4: ReservedIdentity.WORLD_IPV4, 6: ReservedIdentity.WORLD_IPV6}
_RESERVED = BitMap(ReservedIdentity)


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody: who judges for them, None where nobody does; who they are to others; in which families.

    ``alone``: no other endpoint is the same, so there is nobody whom it could reach as itself.
    """

    subject: Identity | None
    peer: Identity
    families: frozenset[int]
    alone: bool = False


class Cast:
    """All actors of an engine, found by who they are to others."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        known = everybody_outside(engine)
        self._prefixes = {
            identity: each
            for identity, each in known.items()
            if isinstance(each, Prefix) and self._is_held(identity, each)
        }
        self._named = {
            address: identity
            for world in (IPV4_WORLD, IPV6_WORLD)
            for address, identity in engine.registry.named(world)
            if self._is_held(identity, address)
        }
        nobody = BitMap(known) - BitMap(self._prefixes) - BitMap(self._named.values())
        self._everybody = peers_of_anybody(engine) - nobody
        self._here: dict[Identity, list[Actor]] = {}
        for subject in engine.subjects.values():
            held: dict[Identity, set[int]] = {}
            for endpoint in subject.endpoints:
                own, plan = engine.endpoints[endpoint], engine.endpoint_plan(endpoint)
                bare = own.ipv4 is None and own.ipv6 is None
                for family, address, peer in ((4, own.ipv4, plan.ipv4), (6, own.ipv6, plan.ipv6)):
                    if address is not None or bare:
                        held.setdefault(peer, set()).add(family)
            for peer, families in held.items():
                actor = Actor(subject.identity, peer, frozenset(families), len(subject.endpoints) == 1)
                self._here.setdefault(peer, []).append(actor)

    def selected(self, selector: PeerSelector | None) -> Iterator[Actor]:
        """Everybody whom a selector selects; None selects all."""
        if selector is None:
            identities = self._everybody
        elif isinstance(selector, CidrSelector):
            identities = self._inside(selector)
        else:
            found = everybody_in(self._engine.registry, selector)
            identities = found & self._everybody or found
        for each in identities:
            yield from self._actors(Identity(each))

    def _is_held(self, identity: Identity, prefix: Prefix) -> bool:
        """Whether an address can have a prefix's identity: it may be the node's own, or a workload's."""
        return prefix.length < 128 or self._engine.identity_of_address(prefix.packed) == identity

    def _actors(self, identity: Identity) -> list[Actor]:
        if identity in self._here:
            return self._here[identity]
        judged = is_workload(identity) or identity in self._engine.subjects
        return [Actor(identity if judged else None, identity, self._families(identity))]

    def _families(self, identity: Identity) -> frozenset[int]:
        if identity & LOCAL_IDENTITY_BIT:
            prefix = self._engine.registry.prefix(identity)
            return frozenset({4 if prefix is not None and prefix.is_ipv4 else 6})
        return _FAMILIES.get(ReservedIdentity(identity), _BOTH) if identity in _RESERVED else _BOTH

    def _inside(self, selector: CidrSelector) -> BitMap:
        """Identities that addresses outside have in a prefix, whether a rule tells it apart or not.

        An address has that of its names, where a rule asks for one of them, else the longest prefix's around
        it that has an identity, else the world's.
        """
        meant = selector.prefix
        inner = {identity: each for identity, each in self._prefixes.items() if meant.covers(each)}
        found = BitMap(
            identity
            for identity, each in inner.items()
            if not any(hole.covers(each) for hole in selector.except_)
            and not _tiled(each, [*inner.values(), *selector.except_])
        )
        if meant not in inner.values() and not _tiled(meant, [*inner.values(), *selector.except_]):
            around = [
                (each.length, identity) for identity, each in self._prefixes.items() if each.covers(meant)
            ]
            found.add(max(around)[1] if around else _WORLD[4 if meant.is_ipv4 else 6])
        found |= BitMap(who for address, who in self._named.items() if selects(selector, address))
        return found


def _tiled(prefix: Prefix, parts: list[Prefix]) -> bool:
    """Whether smaller prefixes leave nothing of one."""
    inside = [each for each in parts if each != prefix and prefix.covers(each)]
    outermost = {each for each in inside if not any(one != each and one.covers(each) for one in inside)}
    return sum(1 << 128 - each.length for each in outermost) == 1 << 128 - prefix.length
