"""Generation 4: loaded once. An endpoint is a row in a map, which its interface's number finds."""

from collections.abc import Mapping

from kinety.datapath.template import OBJECT
from kinety.kernel.spec import CollectionSpec

from .generation import packaged_spec
from .values import Values


class Resident:
    """The talk's "load templates into the kernel", and the agent's way."""

    name = "resident"
    shared = True

    def __init__(self, spec: CollectionSpec | None = None) -> None:
        """``spec`` replaces the packaged object."""
        self._spec = spec or packaged_spec(OBJECT)

    def generate(self, values: Values, node: Mapping[str, int]) -> CollectionSpec:
        """The same programs for whatever values: those are in the row."""
        return self._spec.with_constants(node)
