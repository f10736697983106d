"""Questions to the agent: HTTP over its unix socket, as little of it as one question needs.

``kinety.api.client`` does the same with ``http.client``, whose import alone takes longer than an attach.
"""

from __future__ import annotations

import json
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_SOCKET = "/run/kinety/agent.sock"
_SECONDS = 60.0
_RECEIVE_BYTES = 65536
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


class AgentAway(Exception):
    """Nobody answered. ``asked``: somebody had begun to listen, so the question may have been carried out."""

    def __init__(self, why: str, asked: bool) -> None:
        super().__init__(why)
        self.asked = asked


class Refusal(Exception):
    """The agent refused: its HTTP status, why, and the part of the request that was wrong."""

    def __init__(self, status: int, why: str, path: str) -> None:
        super().__init__(why)
        self.status = status
        self.path = path


def ask(place: str, method: str, path: str, body: Any = None) -> Any:
    """The agent's answer, None when it is empty. Raises AgentAway or Refusal."""
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.0\r\nHost: kinety\r\nContent-Length: {len(data)}\r\n"
    kind = "Content-Type: application/json\r\n" if data else ""
    asked = False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
            stream.settimeout(_SECONDS)
            stream.connect(place)
            asked = True
            stream.sendall(f"{head}{kind}\r\n".encode() + data)
            answer = b"".join(iter(lambda: stream.recv(_RECEIVE_BYTES), b""))
    except OSError as error:
        raise AgentAway(f"no agent answers on {place}: {error.strerror or error}", asked) from error
    return _understood(place, answer)


def quote(segment: str) -> str:
    """One segment of a path."""
    return "".join(chr(each) if each in _PLAIN else f"%{each:02X}" for each in segment.encode())


def _understood(place: str, answer: bytes) -> Any:
    head, end, data = answer.partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    length = next((int(each[15:]) for each in fields if each[:15].lower() == b"content-length:"), 0)
    words = first.split()
    if not end or len(words) < 2 or not words[1].isdigit() or len(data) < length:
        raise AgentAway(f"the agent on {place} went away in the middle of its answer", True)
    status = int(words[1])
    found = json.loads(data) if data else None
    if status >= 400:
        problem = found if isinstance(found, dict) else {}
        raise Refusal(status, problem.get("error", f"the agent answered {status}"), problem.get("path") or "")
    return found
