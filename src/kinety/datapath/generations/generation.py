"""What a generation is, and where its programs' instructions come from."""

from collections.abc import Mapping
from typing import Protocol

from kinety import abi
from kinety.datapath.template import packaged_object
from kinety.kernel.spec import CollectionSpec

from .values import Values


class Generation(Protocol):
    """A way to make the programs of an endpoint. Making asks nothing of the kernel."""

    @property
    def name(self) -> str:
        """What it is called in figures and documents."""
        ...

    @property
    def shared(self) -> bool:
        """Whether one pair of programs serves all endpoints."""
        ...

    def generate(self, values: Values, node: Mapping[str, int]) -> CollectionSpec:
        """The programs of an endpoint, to be loaded as they are.

        ``node`` are constants of bpf/abi/config.h; those left out have their defaults. Raises ValueError
        for a constant that does not exist or does not fit.
        """
        ...


def packaged_spec(name: str) -> CollectionSpec:
    """Read an object that was compiled with this version, by the name it has in ``src/kinety/bpf``.

    Raises FileNotFoundError when it was not built, ValueError when it is another version's.
    """
    return checked_spec(packaged_object(name), name)


def checked_spec(elf: bytes, name: str) -> CollectionSpec:
    """Read an object. Raises ValueError, naming it, when it is no object of this version."""
    try:
        spec = CollectionSpec.parse(elf)
        spec.require_contract(abi.CONTRACT_HASH)
    except ValueError as error:
        error.add_note(f"object: {name}")
        raise
    return spec
