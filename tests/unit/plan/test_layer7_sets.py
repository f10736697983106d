from kinety.model.layer7 import Layer7, Layer7Id
from kinety.plan.layer7_sets import Layer7Sets
from tests.unit.plan.saying import http

A, B = {Layer7Id("a"): http("/a")}, {Layer7Id("b"): http("/b")}


def said(sets: Layer7Sets) -> tuple[dict[Layer7Id, Layer7], frozenset[Layer7Id]]:
    return sets.added(), sets.removed()


def test_a_set_is_there_as_long_as_somebody_redirects_to_it() -> None:
    sets = Layer7Sets()
    sets.use(A)
    sets.use(A | B)
    assert said(sets) == (A | B, frozenset())
    sets.begin()
    sets.drop(A | B)
    assert said(sets) == ({}, frozenset(B))
    sets.begin()
    sets.drop(A)
    assert said(sets) == ({}, frozenset(A))
    assert not sets.live()


def test_what_comes_and_goes_in_one_change_is_told_as_both() -> None:
    """A table on its way out is taught what is new: until then packets are sent to it."""
    sets = Layer7Sets()
    sets.use(A)
    sets.begin()
    sets.use(B)
    sets.drop(A)
    sets.drop(B)
    sets.use(A)
    assert said(sets) == (B, frozenset(B))
    assert sets.live() == A
    sets.begin()
    assert said(sets) == ({}, frozenset())
