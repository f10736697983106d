"""What a datapath found when it took up what a former one had left."""

from dataclasses import dataclass

from kinety.model.endpoint import EndpointId


@dataclass(frozen=True, slots=True)
class Restoration:
    """What a restart found. ``missing`` endpoints have no interface any more: attach or forget them.

    ``removed`` interfaces belonged to nobody. ``writes`` counts kernel writes; 0 when nothing changed.
    """

    missing: frozenset[EndpointId]
    removed: tuple[str, ...]
    writes: int
