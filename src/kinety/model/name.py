"""What name servers say."""

from dataclasses import dataclass

from kinety.model.address import IPAddress


@dataclass(frozen=True, slots=True)
class Answer:
    """Addresses that were given for a name, each with the seconds for which it may be used.

    ``chain``: names that aliases led to, in order, without ``name``. An address belongs to the name, and to
    every name of the chain. Names are lower case and without the final dot. ``client`` is who asked; None: an
    operator says so.
    """

    name: str
    addresses: tuple[tuple[IPAddress, int], ...]
    chain: tuple[str, ...] = ()
    client: IPAddress | None = None

    @property
    def mappings(self) -> int:
        """Pairs of a name and an address that come of it."""
        return len(self.addresses) * (1 + len(self.chain))
