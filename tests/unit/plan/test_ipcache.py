from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from kinety.identity.journal import Journal
from kinety.identity.prefix_index import IPV4_WORLD
from kinety.model.address import Prefix, pack_address
from kinety.model.identity import Identity, ReservedIdentity
from kinety.plan.ipcache import Ipcache, Source
from tests.unit.plan.generation import ADDRESSES

TEXTS = (
    "8.0.0.0/7", "8.8.0.0/16", "8.8.8.8/32", "172.16.0.0/16", "::/1", "::/3", "::/80", "2001:db8::/32",
    "2001:db8::1/128",
)  # fmt: skip
SOURCES = (Source.HOST, Source.PEER, Source.POLICY)
#: A source says who a prefix is, or (None) that it does not know any more.
words = st.tuples(
    st.sampled_from(SOURCES), st.sampled_from(TEXTS).map(Prefix.parse), st.none() | st.integers(256, 300)
)
changes = st.lists(st.lists(words, max_size=5), max_size=5)
Said = dict[tuple[Source, Prefix], Identity]


def tell(ipcache: Ipcache, said: Said, change: list[tuple[Source, Prefix, int | None]]) -> None:
    ipcache.begin()
    for source, prefix, number in change:
        if number is not None:
            said[source, prefix] = Identity(number)
            ipcache.say(source, prefix, Identity(number))
        elif said.pop((source, prefix), None) is not None:
            ipcache.unsay(source, (prefix,))
    ipcache.settle()


def naive(said: Said, address: bytes) -> Identity:
    """The longest prefix of the address's own family, by the source that has the say."""
    asked = Prefix(address, 128)
    held = [(-prefix.length, source) for source, prefix in said if prefix.covers(asked)]
    if held:
        length, source = min(held)
        return next(
            identity
            for (each, prefix), identity in said.items()
            if each is source and prefix.length == -length and prefix.covers(asked)
        )
    world = ReservedIdentity.WORLD_IPV4 if asked.is_ipv4 else ReservedIdentity.WORLD_IPV6
    return Identity(world)


def kernel(entries: Mapping[Prefix, Identity], address: bytes) -> Identity:
    """What the kernel finds, which knows sixteen bytes and no families."""
    held = [each for each in entries if each.contains(Prefix(address, 128))]
    if held:
        return entries[max(held, key=lambda each: each.length)]
    return naive({}, address)


def check(ipcache: Ipcache, said: Said) -> None:
    entries = ipcache.entries()
    for address in (*ADDRESSES, pack_address("::7"), pack_address("2001:db8::2")):
        assert ipcache.identity(address) == naive(said, address) == kernel(entries, address)
    assert ipcache.hosts == sum(prefix.length == 128 for prefix in entries)
    needed = any(prefix.length < 96 and prefix.contains(IPV4_WORLD) for _, prefix in said)
    assert (IPV4_WORLD in entries) is needed, "the fence is up just as long as somebody needs it"


@settings(deadline=None)
@given(changes)
def test_every_address_is_whose_the_sources_say(steps: list[list[tuple[Source, Prefix, int | None]]]) -> None:
    ipcache, said = Ipcache(Journal()), Said()
    for change in steps:
        before = dict(ipcache.entries())
        tell(ipcache, said, change)
        check(ipcache, said)
        after = {each: found for each, found in before.items() if each not in ipcache.removed}
        assert after | ipcache.updated == dict(ipcache.entries()), "what it says it did is what it did"
        assert not ipcache.removed & ipcache.updated.keys()
        assert all(before.get(each) != found for each, found in ipcache.updated.items())


@settings(deadline=None)
@given(changes, changes)
def test_a_change_taken_back_leaves_no_trace(
    kept: list[list[tuple[Source, Prefix, int | None]]], undone: list[list[tuple[Source, Prefix, int | None]]]
) -> None:
    journal = Journal()
    ipcache, said = Ipcache(journal), Said()
    for change in kept:
        tell(ipcache, said, change)
    journal.commit()
    for change in undone:
        before = dict(ipcache.entries())
        tell(ipcache, dict(said), change)
        journal.rollback()
        assert dict(ipcache.entries()) == before
        check(ipcache, said)


@given(st.lists(st.sets(st.sampled_from(ADDRESSES)), max_size=4))
def test_the_hosts_addresses_are_the_last_ones_said(turns: list[set[bytes]]) -> None:
    ipcache = Ipcache(Journal())
    for addresses in turns:
        ipcache.begin()
        ipcache.say_hosts(addresses)
        ipcache.settle()
        assert dict(ipcache.entries()) == {Prefix(each, 128): Identity(1) for each in addresses}


def test_what_the_host_gives_up_is_the_peers_again() -> None:
    ipcache, address = Ipcache(Journal()), Prefix.parse("172.16.0.1")
    ipcache.say(Source.POLICY, address, Identity(1 << 24))
    ipcache.say(Source.PEER, address, Identity(300))
    ipcache.say_hosts([address.packed])
    ipcache.settle()
    assert ipcache.identity(address.packed) == ReservedIdentity.HOST
    for expected, source in ((300, Source.HOST), (1 << 24, Source.PEER), (9, Source.POLICY)):
        ipcache.begin()
        ipcache.unsay(source, [address])
        ipcache.settle()
        assert ipcache.identity(address.packed) == expected
    assert ipcache.removed == {address}
