"""Names of identities, for people: endpoints by name, addresses by prefix, others by label."""

from collections.abc import Iterable, Mapping
from functools import cached_property

from kinety.identity.named_prefix import Outside
from kinety.model.identity import LOCAL_IDENTITY_BIT, Identity
from kinety.model.label import K8S, NAMESPACE_KEY, NAMESPACE_LABELS_PREFIX, RESERVED, Labels
from kinety.plan.engine import Engine

#: The node as a subject: it has no endpoints.
HOST = "host"


class Names:
    """Names of an engine's identities. ``outside`` adds local ones that the engine may have forgotten."""

    def __init__(self, engine: Engine, outside: Mapping[Identity, Outside] | None = None) -> None:
        self._engine = engine
        self._outside = outside or {}

    def subjects(self, identities: Iterable[int]) -> tuple[str, ...]:
        """Names of those whose rules are asked: every endpoint that has one of these identities."""
        engine = self._engine
        named: list[str] = []
        for each in identities:
            endpoints = engine.subjects[Identity(each)].endpoints
            named += map(str, map(engine.endpoints.__getitem__, endpoints)) if endpoints else [HOST]
        return tuple(sorted(named))

    def peers(self, identities: Iterable[int]) -> tuple[str, ...]:
        """Names of those who are asked about: endpoints of this node first, then others."""
        here: set[str] = set()
        others: list[str] = []
        for each in identities:
            if each in self._holders:
                here.update(self._holders[Identity(each)])
            else:
                others.append(self._other(Identity(each)))
        return (*sorted(here), *sorted(others))

    def _other(self, identity: Identity) -> str:
        if identity & LOCAL_IDENTITY_BIT:
            return str(self._outside.get(identity) or self._engine.registry.outside(identity))
        return label_text(self._engine.registry[identity])

    @cached_property
    def _holders(self) -> dict[Identity, list[str]]:
        return holders(self._engine)


def holders(engine: Engine) -> dict[Identity, list[str]]:
    """Names of the endpoints of this node that are an identity to others, at one of their addresses."""
    found: dict[Identity, list[str]] = {}
    for each in engine.endpoints.values():
        plan = engine.endpoint_plan(each.id)
        seen = {
            plan.ipv4 if each.ipv4 is not None else None,
            plan.ipv6 if each.ipv6 is not None else None,
        } - {None}
        for identity in seen or {plan.identity}:
            if identity is not None:
                found.setdefault(identity, []).append(str(each))
    return found


def everybody_outside(engine: Engine) -> dict[Identity, Outside]:
    """Whom all identities stand for that mean something on this node only."""
    registry = engine.registry
    local = (each for each in registry if each & LOCAL_IDENTITY_BIT)
    return {each: who for each in local if (who := registry.outside(each)) is not None}


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
