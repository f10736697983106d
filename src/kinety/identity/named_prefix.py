"""Whom a DNS name makes of an address: one identity for all addresses that no live selector tells apart."""

from dataclasses import dataclass

from kinety.identity.prefix_index import labels_of
from kinety.model.address import Prefix
from kinety.model.label import FQDN, Label, Labels
from kinety.model.layer7 import NamePattern


@dataclass(frozen=True, slots=True)
class NamedPrefix:
    """Addresses whose names are of these live patterns, and of no others that are live.

    ``prefix`` is the longest around them that has an identity of its own: what CIDR selectors take them for.
    """

    prefix: Prefix
    patterns: frozenset[NamePattern]

    @property
    def labels(self) -> Labels:
        """The prefix's own labels, and one for each pattern: ``fqdn:*.example.com``."""
        return labels_of(self.prefix) | {Label(FQDN, each.pattern) for each in self.patterns}

    def __str__(self) -> str:
        return f"{', '.join(sorted(each.pattern for each in self.patterns))} in {self.prefix}"


#: What an identity outside is a number for.
Outside = Prefix | NamedPrefix
