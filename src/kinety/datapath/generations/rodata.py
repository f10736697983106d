"""Generation 3: an endpoint's values fill its programs' ``.rodata``, which is frozen before they load.

The verifier reads a frozen map as constants: branches that they rule out are removed. Variables that
the programs change lie in ``.bss``: `Deployment.variable` reads one.
"""

from collections.abc import Mapping

from kinety.kernel.spec import CollectionSpec

from .generation import packaged_spec
from .values import Values

OBJECT = "endpoint-rodata.o"


class Rodata:
    """The talk's "upstream libbpf"."""

    name = "rodata"
    shared = False

    def __init__(self, spec: CollectionSpec | None = None) -> None:
        """``spec`` replaces the packaged object."""
        self._spec = spec or packaged_spec(OBJECT)

    def generate(self, values: Values, node: Mapping[str, int]) -> CollectionSpec:
        """The object's programs beside a ``.rodata`` of the endpoint's."""
        return self._spec.with_constants({**values.constants(), **node})
