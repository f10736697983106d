"""Generation 2: one object, read once; an endpoint's values are the values of its symbols.

All static data is declared as symbols. Where the code asks for a symbol's address, the instruction's
immediate becomes the symbol's value, as any linker would do it: the value is the datum. There is no
map for it, and nothing to read when a packet comes. References to maps are by name, as always.
"""

from collections.abc import Mapping

from kinety.kernel.spec import CollectionSpec

from .generation import packaged_spec
from .values import Values

OBJECT = "endpoint-symbols.o"


class Symbols:
    """The talk's "initial implementation"."""

    name = "symbols"
    shared = False

    def __init__(self, spec: CollectionSpec | None = None) -> None:
        """``spec`` replaces the packaged object."""
        self._spec = spec or packaged_spec(OBJECT)

    def generate(self, values: Values, node: Mapping[str, int]) -> CollectionSpec:
        """A copy of the instructions with the numbers in them."""
        return self._spec.with_symbols({**values.constants(), **node})
