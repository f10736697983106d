"""Names of identities, for people: endpoints by name, addresses by prefix, others by label."""

from collections.abc import Iterable, Mapping

from kinety.model.address import Prefix
from kinety.model.identity import LOCAL_IDENTITY_BIT, Identity
from kinety.model.label import K8S, NAMESPACE_KEY, NAMESPACE_LABELS_PREFIX, RESERVED, Labels
from kinety.plan.engine import Engine


class Names:
    """Names of an engine's identities. ``prefixes`` adds local ones that the engine may have forgotten."""

    def __init__(self, engine: Engine, prefixes: Mapping[Identity, Prefix] | None = None) -> None:
        self._engine = engine
        self._prefixes = prefixes or {}

    def of(self, identity: Identity) -> tuple[str, ...]:
        """An identity's names: one for each endpoint of this node that has it, or another."""
        subject = self._engine.subjects.get(identity)
        if subject is not None and subject.endpoints:
            return tuple(sorted(str(self._engine.endpoints[each]) for each in subject.endpoints))
        if identity & LOCAL_IDENTITY_BIT:
            prefix = self._prefixes.get(identity) or self._engine.registry.prefix(identity)
            return (str(prefix),)
        return (label_text(self._engine.registry[identity]),)

    def one(self, identity: Identity) -> str:
        """One name of an identity."""
        return self.of(identity)[0]

    def all(self, identities: Iterable[int]) -> tuple[str, ...]:
        """Every name of a group: endpoints of this node first, then by name."""
        here = self._engine.subjects
        named = [(each not in here, name) for each in identities for name in self.of(Identity(each))]
        return tuple(name for _, name in sorted(named))


def local_prefixes(engine: Engine) -> dict[Identity, Prefix]:
    """Prefixes of all identities that mean something on this node only."""
    registry = engine.registry
    local = (each for each in registry if each & LOCAL_IDENTITY_BIT)
    return {each: prefix for each in local if (prefix := registry.prefix(each)) is not None}


def label_text(labels: Labels) -> str:
    """Labels in short: what is the namespace's own is left out where something else is left."""
    reserved = sorted(label.key for label in labels if label.source == RESERVED)
    if reserved:
        return reserved[0]
    namespace = next((each.value for each in labels if (each.source, each.key) == (K8S, NAMESPACE_KEY)), "")
    own = sorted(
        str(label).removeprefix("k8s:")
        for label in labels
        if label.key != NAMESPACE_KEY and not label.key.startswith(NAMESPACE_LABELS_PREFIX)
    )
    shown = ",".join(own) or "no labels"
    return f"{namespace}/{{{shown}}}" if namespace else f"{{{shown}}}"
