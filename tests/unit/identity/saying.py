"""Small worlds for tests of identities, and what selectors mean in them, asked one by one."""

from collections.abc import Iterable, Mapping

from hypothesis import strategies as st
from pyroaring import BitMap

from kinety.identity.registry import Registry
from kinety.model.identity import Identity
from kinety.model.label import Label, Labels
from kinety.model.selector import LabelSelector, PeerSelector

#: Keys and values that the selectors of ``tests.unit.plan.generation`` ask for, and others.
label = st.builds(
    Label,
    st.sampled_from(("k8s", "other")),
    st.sampled_from(("app", "tier", "zone")),
    st.sampled_from(("", "a", "b", "c")),
)
label_sets = st.frozensets(label, max_size=4)


def selected(known: Mapping[Identity, Labels], selector: LabelSelector) -> BitMap:
    """Identities that a selector matches."""
    return BitMap(identity for identity, labels in known.items() if selector.matches(labels))


def grouped(registry: Registry, selectors: Iterable[PeerSelector]) -> set[frozenset[int]]:
    """Identities by the set of selectors that select them; those that none selects left out."""
    wanted = list(selectors)
    groups: dict[frozenset[int], set[int]] = {}
    for identity in registry:
        hits = frozenset(index for index, each in enumerate(wanted) if registry.selects(each, identity))
        if hits:
            groups.setdefault(hits, set()).add(identity)
    return {frozenset(group) for group in groups.values()}
