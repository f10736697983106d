"""Labels that a container runtime gives a container, as labels of its endpoint."""

import logging
from collections.abc import Mapping

from kinety.agent.request import LONGEST_LABEL
from kinety.model.label import CONTAINER, NAMESPACE_LABELS_PREFIX, Label, Labels

log = logging.getLogger(__name__)


def container_labels(own: Labels, told: Mapping[str, str]) -> Labels:
    """What an endpoint gets of its container's labels, beside its own.

    Its own are the operator's and win: a key that they have is theirs alone. What no policy could write, as
    values with spaces in them, is left out; so is what would speak for a namespace.
    """
    taken = {label.key for label in own}
    found = set()
    for key, value in told.items():
        if key in taken or key.startswith(NAMESPACE_LABELS_PREFIX):
            continue
        if _is_writable(key, value):
            found.add(Label(CONTAINER, key, value))
        else:
            log.debug("label %.40r of a container is left out: empty, too long, or with spaces", key)
    return frozenset(found)


def _is_writable(key: str, value: str) -> bool:
    both = key + value
    return bool(key) and len(both) <= LONGEST_LABEL and both.isprintable() and not any(map(str.isspace, both))
