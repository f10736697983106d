"""The first judge: the policy language read naively, straight from the documents.

This shares no code with `kinety.policy`, `kinety.identity` and `kinety.plan`, on purpose: it is what
they are compared with. It knows no identities, classes or tables. Every question walks every rule
of every document, and matches plain dictionaries against plain labels. It expects documents that
are valid.

`judge` settles who wins; `cilium`, `kubernetes` and `cluster_network` read one language each, and the
other modules read what these have in common.
"""

from kinety.testing.oracle.judge import Opinion, Oracle
from kinety.testing.oracle.party import Party

__all__ = ["Opinion", "Oracle", "Party"]
