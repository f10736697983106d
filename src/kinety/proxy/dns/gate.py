"""Which answers a client may have, and when."""

from kinety.proxy.dns.answer import Reader
from kinety.proxy.dns.question import Malformed, Question, ResponseCode
from kinety.proxy.dns.upstream import Release

_TRUNCATED = 0x02


class Gate:
    """Lets answers through."""

    def __init__(self) -> None:
        self._reader = Reader()

    def admit(self, question: Question, message: bytes, release: Release) -> None:
        """Release an answer."""
        try:
            self._reader.read(question, message)
        except Malformed:
            if message[2] & _TRUNCATED:
                release(question.truncated())
            else:
                release(question.answered(ResponseCode.SERVER_FAILURE))
            return
        release(message[2:])
