"""Headers of HTTP that rules may not change, and how much they may ask of headers."""

#: They say where a message ends and to whom it goes. Source: RFC 9110, 7.2 and 7.6.1; RFC 9112, 6.
FRAMING = frozenset(
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
#: Headers of one rule that may mismatch: a proxy tells two to that power requests apart.
MOST_MISMATCHES = 6
#: Of a header's name, between dashes: two to that power names look like it, and are refused beside it.
MOST_WORDS = 7
