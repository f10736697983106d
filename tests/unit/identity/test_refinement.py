from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from kinety.identity.members import every, expand
from kinety.identity.refinement import refine
from kinety.identity.selection import Selection
from kinety.model.identity import LOCAL_IDENTITY_BIT
from tests.unit.plan.saying import ANYONE

#: Cluster and local identities, which are refined apart.
identities = st.one_of(
    st.integers(1, 12), st.integers(65530, 65535), st.integers(LOCAL_IDENTITY_BIT + 1, LOCAL_IDENTITY_BIT + 6)
)
sets = st.frozensets(identities)


def selections(found: list[frozenset[int]]) -> list[Selection]:
    """Tokens are powers of ten, so a signature shows which selections are in it."""
    return [Selection(ANYONE, 10**number, BitMap(each)) for number, each in enumerate(found)]


@given(sets, st.lists(sets, max_size=6))
def test_groups_are_those_whom_the_same_selections_select(
    pool: frozenset[int], found: list[frozenset[int]]
) -> None:
    expected: dict[tuple[int, ...], set[int]] = {}
    for identity in pool:
        hits = tuple(number for number, each in enumerate(found) if identity in each)
        expected.setdefault(hits, set()).add(identity)
    groups = refine(BitMap(pool), selections(found))

    by_signature: dict[int, set[int]] = {}
    for members, signature in groups:
        assert every(members), "no group is empty"
        assert not by_signature.get(signature, set()) & set(every(members))
        by_signature.setdefault(signature, set()).update(every(members))
    assert by_signature == {sum(10**number for number in hits): members for hits, members in expected.items()}
    halves = [{identity > 65535 for identity in every(members)} for members, _ in groups]
    assert all(len(half) == 1 for half in halves), "cluster and local identities are never one group"
    assert len(groups) == sum(
        len({identity > 65535 for identity in members}) for members in expected.values()
    )


@given(sets.filter(bool), st.lists(sets, max_size=4))
def test_a_pool_of_the_unselected_stays_whole(pool: frozenset[int], found: list[frozenset[int]]) -> None:
    elsewhere = selections([each - pool for each in found])
    assert {signature for _, signature in refine(BitMap(pool), elsewhere)} == {0}


def test_groups_do_not_share_bitmaps_with_selections() -> None:
    everyone = selections([frozenset({1, 2, 3})])
    ((members, _),) = refine(BitMap([1, 2, 3]), everyone)
    expand(members).clear()
    assert everyone[0].members == BitMap([1, 2, 3])
