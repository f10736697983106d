"""Headers that Envoy keeps under other names, and those that no rule may change."""

#: Where a client's own X-Forwarded-Proto is kept while Envoy has one of its own under that name.
KEPT_PROTO = "x-kinety-forwarded-proto"
FORWARDED_PROTO = "x-forwarded-proto"
_JUDGED_AS = {"host": ":authority", FORWARDED_PROTO: KEPT_PROTO}
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


def may_change(name: str) -> bool:
    """Whether a rule may add, replace or delete a header."""
    return name.lower() not in _FRAMING and name.lower() != KEPT_PROTO
