"""Labels: ``source:key=value``, the only thing policy ever decides on."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

ANY_SOURCE = "any"
K8S = "k8s"
RESERVED = "reserved"
CIDR = "cidr"
#: Labels of a node, beside the reserved label that says which node it is.
NODE = "node"
#: Labels that a container runtime gives a container.
CONTAINER = "container"
#: Labels of a group of prefixes.
CIDR_GROUP = "cidrgroup"
#: Ports by the name that an endpoint gives them: ``port:http=80/TCP``.
PORT = "port"
#: Live blocks of addresses that an endpoint has an address in.
BLOCK = "block"
#: Names that a DNS answer gave an address for.
FQDN = "fqdn"
#: Sources of what only Kinety says and only Kinety asks about; ``any`` does not see them.
HIDDEN_SOURCES = frozenset({PORT, BLOCK, FQDN})

#: Key of the label that says which namespace an endpoint is in.
NAMESPACE_KEY = "io.kubernetes.pod.namespace"
#: Prefix of the keys under which an endpoint carries its namespace's labels.
NAMESPACE_LABELS_PREFIX = "io.cilium.k8s.namespace.labels."


class Label(NamedTuple):
    """One label. ``source`` says who vouches for it; workloads cannot use ``reserved``.

    A tuple because labels are hashed more often than anything else, and a tuple's hash is C.
    """

    source: str
    key: str
    value: str = ""

    @classmethod
    def parse(cls, text: str, *, default_source: str = K8S) -> Self:
        """Read ``[source:]key[=value]``.

        Raises ValueError when the key is empty.
        """
        head, _, value = text.partition("=")
        source, colon, key = head.partition(":")
        if not colon:
            source, key = default_source, head
        if not key or not source:
            raise ValueError(f"label {text!r} has no key; write [source:]key[=value]")
        return cls(source, key, value)

    def __str__(self) -> str:
        tail = f"={self.value}" if self.value else ""
        return f"{self.source}:{self.key}{tail}"


#: A set of labels; an identity is a number for one of these.
Labels = frozenset[Label]


def labels_of_endpoint(
    namespace: str,
    labels: Iterable[Label],
    namespace_labels: Mapping[str, str] | None = None,
) -> Labels:
    """All labels that an endpoint of ``namespace`` carries, its namespace's included.

    Raises ValueError when a label claims a source or a key that only Kinety may vouch for.
    """
    own = set(labels)
    for label in own:
        if label.source in (RESERVED, CIDR, ANY_SOURCE, *HIDDEN_SOURCES):
            raise ValueError(f"label {label} uses the source {label.source!r}, which workloads cannot set")
        if label.key == NAMESPACE_KEY or label.key.startswith(NAMESPACE_LABELS_PREFIX):
            raise ValueError(f"label {label} speaks for a namespace; the endpoint's namespace sets it")
    own.add(Label(K8S, NAMESPACE_KEY, namespace))
    for key, value in (namespace_labels or {}).items():
        own.add(Label(K8S, NAMESPACE_LABELS_PREFIX + key, value))
    return frozenset(own)
