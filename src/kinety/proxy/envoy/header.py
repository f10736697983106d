"""Headers that Envoy keeps under other names, those no rule may change, and those that look like others."""

from collections.abc import Iterator
from itertools import product

from kinety.model.header import FRAMING, MOST_WORDS

#: Where a client's own X-Forwarded-Proto is kept while Envoy has one of its own under that name.
KEPT_PROTO = "x-kinety-forwarded-proto"
FORWARDED_PROTO = "x-forwarded-proto"
_JUDGED_AS = {"host": ":authority", FORWARDED_PROTO: KEPT_PROTO}


def judged_name(name: str) -> str:
    """Under which name Envoy has a header when routes are chosen."""
    return _JUDGED_AS.get(name.lower(), name.lower())


def lookalikes(name: str) -> Iterator[str]:
    """Other headers that are the same to servers that make variables of them: with ``_`` for any ``-``.

    Source: RFC 3875, 4.1.18. Raises ValueError for a name of too many words.
    """
    words = name.lower().split("-")
    if len(words) > MOST_WORDS:
        raise ValueError(f"the header {name} has {len(words)} words; at most {MOST_WORDS}")
    for joints in product("-_", repeat=len(words) - 1):
        if "_" in joints:
            yield words[0] + "".join(joint + word for joint, word in zip(joints, words[1:], strict=True))


def may_change(name: str) -> bool:
    """Whether a rule may add, replace or delete a header."""
    return name.lower() not in FRAMING and name.lower() != KEPT_PROTO
