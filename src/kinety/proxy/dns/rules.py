"""Which questions a listener lets through. Judged once for each way to write a question."""

from collections.abc import Iterable
from dataclasses import dataclass

from kinety.model.layer7 import NamePattern
from kinety.proxy.dns.question import Malformed, Question, Remark, ResponseCode, Why, unread
from kinety.proxy.dns.recent import Recent

#: Ways to write a question that are remembered, and the longest: what there is to fill, a client will.
_REMEMBERED, _LONGEST_REMEMBERED = 4096, 300


@dataclass(frozen=True, slots=True)
class Ruling:
    """A question that may be asked, or why not and the answer that is its own, without an id.

    Without a question and without an answer the message is dropped.
    """

    question: Question | None
    why: Why | None = None
    answer: bytes | None = None


class Rules:
    """The patterns of one listener: any of them lets a name through, none of them lets nothing through.

    ``denied`` is what is said of other names.
    """

    def __init__(self, patterns: Iterable[NamePattern], denied: ResponseCode = ResponseCode.REFUSED) -> None:
        self.patterns = tuple(patterns)
        self.denied = denied
        self._names = frozenset(each.pattern for each in self.patterns if "*" not in each.pattern)
        self._wild = tuple(each for each in self.patterns if "*" in each.pattern)
        self._rulings: Recent[bytes, Ruling] = Recent(_REMEMBERED)

    def allows(self, name: str) -> bool:
        """Whether a name, lower case and without the final dot, may be asked for."""
        return name in self._names or any(each.matches(name) for each in self._wild)

    def ruling(self, message: bytes) -> Ruling:
        """What becomes of a query message."""
        written = message[2:]
        found = self._rulings.get(written)
        if found is None:
            found = self._judge(message)
            if len(written) <= _LONGEST_REMEMBERED:
                self._rulings.put(written, found)
        return found

    def _judge(self, message: bytes) -> Ruling:
        try:
            question = Question.parse(message)
        except Malformed as error:
            answer = None if error.code is None else unread(message, error.code)
            return Ruling(None, error.why, answer)
        why = question.refusal or (None if self.allows(question.name) else Why.NAME)
        if why is None:
            return Ruling(question)
        code = self.denied if why is Why.NAME else ResponseCode.REFUSED
        return Ruling(question, why, question.answered(code, Remark.DENIED))
