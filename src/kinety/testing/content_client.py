"""Probes with content, over connections that are up: what the other side makes of it, or somebody between."""

import socket
import ssl
from http.client import HTTPConnection, HTTPException

from kinety.model.address import IPAddress
from kinety.testing.content import HttpRequest, TlsHello
from kinety.testing.content_server import PROBE, anonymous
from kinety.testing.outcome import ALLOW

_WITH_BODY = ("POST", "PUT", "PATCH")
_PORT = 80
_RESET = TlsHello.REFUSAL


def request(client: socket.socket, content: HttpRequest, address: IPAddress, port: int, token: bytes) -> str:
    """Send a request, and what came of it: allow, ``http-`` and another status, or reset. Raises OSError."""
    host = f"[{address}]" if address.version == 6 else str(address)
    connection = HTTPConnection(str(address), port)
    connection.sock = client
    connection.putrequest(content.method, content.path, skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", content.host or (host if port == _PORT else f"{host}:{port}"))
    for name, value in (*content.headers, (PROBE, token.hex())):
        connection.putheader(name, value)
    if content.method in _WITH_BODY:
        connection.putheader("Content-Length", "0")
    try:
        connection.endheaders()
        answer = connection.getresponse()
    except ConnectionError:
        return _RESET
    except HTTPException as error:
        raise OSError(f"no answer of HTTP: {error}") from error
    if answer.status == 200 and answer.getheader(PROBE) == token.hex():
        return ALLOW
    return f"http-{answer.status}"


def handshake(client: socket.socket, content: TlsHello, token: bytes) -> str:
    """Name the server and exchange a token, and what came of it: allow or reset. Raises OSError."""
    try:
        context = anonymous(ssl.PROTOCOL_TLS_CLIENT)
        with context.wrap_socket(client, server_hostname=content.server_name) as secret:
            secret.sendall(token)
            return ALLOW if secret.recv(len(token)) == token else _RESET
    except (ConnectionError, ssl.SSLEOFError):
        return _RESET
