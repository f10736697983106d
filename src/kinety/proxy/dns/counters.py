"""What a listener has done, and how long its answers took."""

from bisect import bisect_left
from dataclasses import dataclass

#: Upper bounds of buckets in seconds: 50 µs, and a quarter more each time, to beyond five seconds.
_BOUNDS = tuple(50e-6 * 1.25**power for power in range(53))


@dataclass(frozen=True, slots=True)
class ListenerStatistics:
    """One listener since the process started. Times in milliseconds, from question to answer, the server's
    included; 0 without any answer."""

    questions: int
    denied: int
    answers: int
    dropped: int
    p50_milliseconds: float
    p99_milliseconds: float


class Counters:
    """Counts of one listener."""

    __slots__ = ("_buckets", "answers", "denied", "dropped", "questions")

    def __init__(self) -> None:
        self.questions = self.denied = self.answers = self.dropped = 0
        self._buckets = [0] * (len(_BOUNDS) + 1)

    def answered(self, seconds: float) -> None:
        """Count an answer that took so long."""
        self.answers += 1
        self._buckets[bisect_left(_BOUNDS, seconds)] += 1

    def statistics(self) -> ListenerStatistics:
        """The state of now; percentiles are right within a quarter."""
        return ListenerStatistics(
            self.questions,
            self.denied,
            self.answers,
            self.dropped,
            self._percentile(50),
            self._percentile(99),
        )

    def _percentile(self, percent: int) -> float:
        left = -(-sum(self._buckets) * percent // 100)
        if not left:
            return 0.0
        for bound, count in zip(_BOUNDS, self._buckets, strict=False):
            left -= count
            if left <= 0:
                return bound * 1000
        return _BOUNDS[-1] * 1000
