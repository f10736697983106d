"""What clients of TLS say first."""

import ssl
from contextlib import suppress


def hello(name: str | None) -> bytes:
    """A ClientHello with a server name, or without."""
    context = ssl.create_default_context()
    context.check_hostname = False
    sent = ssl.MemoryBIO()
    talking = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        talking.do_handshake()
    return sent.read()
