from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from pyroaring import BitMap

from kinety.identity.entity import matches
from kinety.identity.journal import Journal
from kinety.identity.label_index import LabelIndex
from kinety.identity.members import expand
from kinety.identity.named_prefix import NamedPrefix
from kinety.identity.prefix_index import PrefixIndex, labels_of, selects
from kinety.identity.selection import Selection, SelectionCache
from kinety.model.address import Prefix
from kinety.model.identity import Identity
from kinety.model.label import Label, Labels
from kinety.model.layer7 import NamePattern
from kinety.model.selector import (
    BlockSelector,
    CidrSelector,
    EntitySelector,
    FqdnSelector,
    LabelSelector,
    PeerSelector,
)
from tests.unit.identity.saying import label_sets
from tests.unit.plan.generation import HOLES, PATTERNS, PREFIXES, peer_selectors
from tests.unit.plan.saying import ANYONE, has, labels

TEXTS = tuple(text for text in {*PREFIXES, *HOLES.values()} if not text.endswith("/0"))


@dataclass
class World:
    """Who exists, and how many users each selector has."""

    labels: dict[Identity, Labels] = field(default_factory=dict)
    prefixes: dict[Identity, Prefix] = field(default_factory=dict)
    users: dict[PeerSelector, int] = field(default_factory=dict)

    def copy(self) -> "World":
        return World(dict(self.labels), dict(self.prefixes), dict(self.users))

    def selects(self, selector: PeerSelector, identity: Identity) -> bool:
        match selector:
            case EntitySelector(entity):
                return matches(entity, self.labels[identity])
            case CidrSelector():
                return identity in self.prefixes and selects(selector, self.prefixes[identity])
            case BlockSelector(among=among):
                if identity in self.prefixes:
                    return among is None and selects(selector, self.prefixes[identity])
                labels = self.labels[identity]
                return selector.label in labels and (among is None or among.matches(labels))
            case FqdnSelector(pattern):
                return Label("fqdn", pattern.pattern) in self.labels[identity]
            case LabelSelector():
                return selector.matches(self.labels[identity])


class Selecting(RuleBasedStateMachine):
    """Identities and selectors come and go in any order, and changes are kept or taken back."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = Journal()
        self.index, self.prefixes = LabelIndex(self.journal), PrefixIndex(self.journal)
        self.cache = SelectionCache(self.journal, self.index, self.prefixes)
        self.world = self.kept = World()
        self.known: dict[PeerSelector, Selection] = {}
        self.next = 256
        for text in ("0.0.0.0/0", "::/0"):
            prefix = Prefix.parse(text)
            identity = self.prefixes.identity(prefix)
            assert identity is not None
            self.index.add(identity, labels_of(prefix))
            self.world.labels[identity], self.world.prefixes[identity] = labels_of(prefix), prefix
        self.commit()

    @rule(labels=label_sets)
    def pod_comes(self, labels: Labels) -> None:
        if labels not in self.world.labels.values():
            self.come(labels, Identity(self.next))

    @rule(text=st.sampled_from(TEXTS))
    def prefix_comes(self, text: str) -> None:
        prefix = Prefix.parse(text)
        if self.prefixes.identity(prefix) is None:
            identity = Identity((1 << 24) + self.next)
            self.prefixes.add(prefix, identity)
            self.world.prefixes[identity] = prefix
            self.come(labels_of(prefix), identity)

    @rule(text=st.sampled_from(TEXTS), patterns=st.sets(st.sampled_from(PATTERNS), min_size=1))
    def named_address_comes(self, text: str, patterns: set[str]) -> None:
        """The prefix that it is in may have an identity of its own, or not any more."""
        who = NamedPrefix(Prefix.parse(text), frozenset(map(NamePattern, patterns)))
        if who.labels not in self.world.labels.values():
            identity = Identity((1 << 24) + self.next)
            self.prefixes.add_part(who.prefix, identity)
            self.world.prefixes[identity] = who.prefix
            self.come(who.labels, identity)

    def come(self, labels: Labels, identity: Identity) -> None:
        self.next += 1
        self.index.add(identity, labels)
        self.world.labels[identity] = labels
        found = self.cache.identity_added(identity)
        wanted = {each for each in self.world.users if self.world.selects(each, identity)}
        assert {each.selector for each in found} == wanted
        assert len(found) == len(wanted), "no selector sees an identity twice"

    @rule(pick=st.integers(0, 99))
    def someone_goes(self, pick: int) -> None:
        candidates = [each for each in self.world.labels if each >= 256]
        if candidates:
            identity = candidates[pick % len(candidates)]
            self.cache.identity_removed(identity)
            self.index.remove(identity)
            del self.world.labels[identity]
            if identity in self.world.prefixes:
                prefix = self.world.prefixes.pop(identity)
                if self.prefixes.identity(prefix) == identity:
                    self.prefixes.remove(prefix)
                else:
                    self.prefixes.remove_part(identity)

    @rule(selector=peer_selectors)
    def select(self, selector: PeerSelector) -> None:
        before = self.known.get(selector) if selector in self.world.users else None
        selection = self.cache.acquire(selector)
        assert before is None or selection is before, "equal selectors are one selection"
        self.known[selector] = selection
        self.world.users[selector] = self.world.users.get(selector, 0) + 1

    @rule(pick=st.integers(0, 99))
    def unselect(self, pick: int) -> None:
        if self.world.users:
            selector = list(self.world.users)[pick % len(self.world.users)]
            self.world.users[selector] -= 1
            last = not self.world.users[selector]
            assert self.cache.release(self.known[selector]) is last
            if last:
                del self.world.users[selector]

    @rule()
    def commit(self) -> None:
        self.journal.commit()
        self.kept, self.known_then = self.world.copy(), dict(self.known)

    @rule()
    def roll_back(self) -> None:
        self.journal.rollback()
        self.world, self.known = self.kept.copy(), dict(self.known_then)

    @invariant()
    def every_selection_has_whom_it_selects(self) -> None:
        live = {each.selector: each for each in self.cache.live()}
        assert live.keys() == self.world.users.keys()
        assert len(self.cache) == len(live)
        for selector, selection in live.items():
            assert selection is self.known[selector]
            assert selection.users == self.world.users[selector]
            expected = [each for each in self.world.labels if self.world.selects(selector, each)]
            assert expand(selection.members) == BitMap(expected)
        for identity in self.world.labels:
            found = self.cache.matching(identity)
            assert {each.selector for each in found} == {
                each for each in live if self.world.selects(each, identity)
            }


TestSelecting = Selecting.TestCase
TestSelecting.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_tokens_are_never_those_of_a_former_selection() -> None:
    """A class keeps the sum of its selectors' tokens for as long as it has a suspicion to settle."""
    journal = Journal()
    cache = SelectionCache(journal, LabelIndex(journal), PrefixIndex(journal))
    seen = set()
    for _ in range(3):
        selection = cache.acquire(ANYONE)
        seen.add(selection.token)
        assert cache.release(selection)
        assert not cache.is_live(ANYONE)
    assert len(seen) == 3


def test_a_new_identity_is_shown_to_few() -> None:
    """A thousand selectors of one namespace: an identity there visits those that may match it."""
    journal = Journal()
    index = LabelIndex(journal)
    cache = SelectionCache(journal, index, PrefixIndex(journal))
    for number in range(1000):
        cache.acquire(has(namespace="default", app=f"app-{number}"))
    index.add(Identity(256), labels(namespace="default", app="app-7"))
    assert len(cache._candidates(index.labels(Identity(256)), None)) <= 2
    assert [each.selector for each in cache.identity_added(Identity(256))] == [
        has(namespace="default", app="app-7")
    ]
