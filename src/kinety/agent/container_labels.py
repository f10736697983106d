"""Labels that a container runtime gives a container, as labels of its endpoint."""

import logging

from kinety.agent.request import LONGEST_LABEL
from kinety.model.label import NAMESPACE_LABELS_PREFIX, Label, Labels
from kinety.source.runtime import Container

log = logging.getLogger(__name__)


def container_labels(own: Labels, container: Container) -> Labels:
    """What an endpoint gets of its container's labels, beside its own.

    Its own are the operator's and win: a key that they have is theirs alone. What no policy could write, as
    values with spaces in them, is left out; so is what would speak for a namespace.
    """
    taken = {label.key for label in own}
    found = set()
    for key, value in container.labels.items():
        if key in taken or key.startswith(NAMESPACE_LABELS_PREFIX):
            continue
        if _is_writable(key, value):
            found.add(Label(container.source, key, value))
        else:
            log.debug("label %.40r of a container is left out: empty, too long, or with spaces", key)
    return frozenset(found)


def _is_writable(key: str, value: str) -> bool:
    both = key + value
    return bool(key) and len(both) <= LONGEST_LABEL and both.isprintable() and not any(map(str.isspace, both))
