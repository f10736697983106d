"""Headers that Envoy keeps under other names, those no rule may change, and those that look like others."""

from collections.abc import Iterator
from itertools import product

#: Where a client's own X-Forwarded-Proto is kept while Envoy has one of its own under that name.
KEPT_PROTO = "x-kinety-forwarded-proto"
FORWARDED_PROTO = "x-forwarded-proto"
_JUDGED_AS = {"host": ":authority", FORWARDED_PROTO: KEPT_PROTO}
#: Of a header's name, between dashes; two to that power names look like it.
_MOST_WORDS = 7
#: They say where a message ends and to whom it goes. Source: RFC 9110, 7.2 and 7.6.1; RFC 9112, 6.
_FRAMING = frozenset(
    [
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)


def judged_name(name: str) -> str:
    """Under which name Envoy has a header when routes are chosen."""
    return _JUDGED_AS.get(name.lower(), name.lower())


def lookalikes(name: str) -> Iterator[str]:
    """Other headers that are the same to servers that make variables of them: with ``_`` for any ``-``.

    Source: RFC 3875, 4.1.18. Raises ValueError for a name of too many words.
    """
    words = name.lower().split("-")
    if len(words) > _MOST_WORDS:
        raise ValueError(f"the header {name} has {len(words)} words; at most {_MOST_WORDS}")
    for joints in product("-_", repeat=len(words) - 1):
        if "_" in joints:
            yield words[0] + "".join(joint + word for joint, word in zip(joints, words[1:], strict=True))


def may_change(name: str) -> bool:
    """Whether a rule may add, replace or delete a header."""
    return name.lower() not in _FRAMING and name.lower() != KEPT_PROTO
