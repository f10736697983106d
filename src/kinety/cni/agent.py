"""Questions to the agent: HTTP over its unix socket, as little of it as one question needs.

``kinety.api.client`` does the same with ``http.client``, whose import alone takes longer than an attach. The
import of ``socket`` takes as long as an attach; what is needed of it is in the C module under it.
"""

from __future__ import annotations

import sys
from _socket import AF_UNIX, SO_RCVTIMEO, SO_SNDTIMEO, SOCK_STREAM, SOL_SOCKET, socket

from kinety.cni.notation import read, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_SOCKET = "/run/kinety/agent.sock"
#: A minute, as a ``struct timeval``: two longs.
_PATIENCE = (60).to_bytes(8, sys.byteorder) + bytes(8)
_RECEIVE_BYTES = 65536
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


class AgentAway(Exception):
    """Nobody answered.

    ``asked``: somebody had begun to listen, so the question may have been carried out. ``silent``: whoever
    listens said nothing for a minute, and is still there.
    """

    def __init__(self, why: str, *, asked: bool, silent: bool = False) -> None:
        super().__init__(why)
        self.asked = asked
        self.silent = silent


class Refusal(Exception):
    """The agent refused: its HTTP status, why, and the part of the request that was wrong."""

    def __init__(self, status: int, why: str, path: str) -> None:
        super().__init__(why)
        self.status = status
        self.path = path


def ask(place: str, method: str, path: str, body: Any = None) -> Any:
    """The agent's answer, None when it is empty. Raises AgentAway or Refusal."""
    data = b"" if body is None else write(body).encode()
    head = f"{method} {path} HTTP/1.0\r\nHost: kinety\r\nContent-Length: {len(data)}\r\n"
    kind = "Content-Type: application/json\r\n" if data else ""
    asked = False
    stream = socket(AF_UNIX, SOCK_STREAM)
    try:
        # Not Python's timeout: with it connect fails at once where many wait. Source: unix(7), EAGAIN.
        stream.setsockopt(SOL_SOCKET, SO_SNDTIMEO, _PATIENCE)
        stream.setsockopt(SOL_SOCKET, SO_RCVTIMEO, _PATIENCE)
        stream.connect(place)
        asked = True
        stream.sendall(f"{head}{kind}\r\n".encode() + data)
        answer = b"".join(iter(lambda: stream.recv(_RECEIVE_BYTES), b""))
    except BlockingIOError as error:
        why = f"the agent on {place} did not answer within a minute"
        raise AgentAway(why, asked=asked, silent=True) from error
    except OSError as error:
        raise AgentAway(f"no agent answers on {place}: {error.strerror or error}", asked=asked) from error
    finally:
        stream.close()
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
        raise AgentAway(f"the agent on {place} went away in the middle of its answer", asked=True)
    status = int(words[1])
    found = read(data) if data else None
    if status >= 400:
        problem = found if isinstance(found, dict) else {}
        raise Refusal(status, problem.get("error", f"the agent answered {status}"), problem.get("path") or "")
    return found
