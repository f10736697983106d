"""What a probe sends, and what comes back."""

import secrets
import socket
import struct
import time

from kinety.kernel.namespace import Namespace
from kinety.model.address import IPAddress
from kinety.testing import content_client
from kinety.testing.content import DnsQuestion, HttpRequest, TlsHello
from kinety.testing.outcome import ALLOW, DENY
from kinety.testing.scenario import ECHO_TYPES, Probe

#: Longer than any answer takes on one machine, shorter than TCP's second try.
_ANSWER_SECONDS = 0.8
#: The same where proxies have a part in it, and each of them connections of its own.
_CONTENT_SECONDS = 5.0
_ICMP_ECHO = struct.Struct("!BBHHH")
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def exchange(
    home: Namespace, probe: Probe, source: IPAddress, destination: IPAddress, token: bytes
) -> tuple[int, str]:
    """Send a probe with a token from a namespace.

    Returns the source port, or the identifier of an echo, and what came of it as the sender sees it: an
    outcome. Without any answer that is deny.
    """
    if probe.protocol in ECHO_TYPES:
        return _echo(home, probe.port, source, destination, token)
    kind = socket.SOCK_STREAM if probe.protocol == "TCP" else socket.SOCK_DGRAM
    with home.socket(_FAMILIES[source.version], kind) as client:
        client.settimeout(_ANSWER_SECONDS)
        client.bind((str(source), 0))
        port: int = client.getsockname()[1]
        try:
            client.connect((str(destination), probe.port))
            return port, _say(client, probe, destination, token)
        except OSError:
            return port, DENY


def _say(client: socket.socket, probe: Probe, destination: IPAddress, token: bytes) -> str:
    """What came of a probe over TCP or UDP. Raises OSError."""
    content = probe.content
    if content is None:
        client.send(token)
        return ALLOW if client.recv(len(token)) == token else DENY
    if probe.protocol == "TCP":  # it is connected: somebody is there
        client.settimeout(_CONTENT_SECONDS)
    if isinstance(content, HttpRequest):
        return content_client.request(client, content, destination, probe.port, token)
    if isinstance(content, TlsHello):
        return content_client.handshake(client, content, token)
    return _ask(client, content, destination, probe.port)


def _ask(client: socket.socket, content: DnsQuestion, destination: IPAddress, port: int) -> str:
    from kinety.testing import names

    return names.ask(client, content, destination, port, _CONTENT_SECONDS)


def _echo(
    home: Namespace, kind: int, source: IPAddress, destination: IPAddress, token: bytes
) -> tuple[int, str]:
    """Send an echo request of a message type."""
    version4 = source.version == 4
    protocol = socket.IPPROTO_ICMP if version4 else socket.IPPROTO_ICMPV6
    identifier = 1 + secrets.randbelow(65535)
    request = _ICMP_ECHO.pack(kind, 0, 0, identifier, 1) + token
    if version4:
        request = request[:2] + _checksum(request) + request[4:]
    deadline = time.monotonic() + _ANSWER_SECONDS
    with home.socket(_FAMILIES[source.version], socket.SOCK_RAW, protocol) as client:
        client.settimeout(_ANSWER_SECONDS)
        client.bind((str(source), 0))
        try:
            client.sendto(request, (str(destination), 0))
            while time.monotonic() < deadline:
                data, _ = client.recvfrom(2048)
                answer = data[(data[0] & 15) * 4 :] if version4 else data
                if answer[0] != kind and answer[_ICMP_ECHO.size :] == token:
                    return identifier, ALLOW
        except OSError:
            pass
        return identifier, DENY


def _checksum(data: bytes) -> bytes:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)
