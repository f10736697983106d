"""Bandwidth: how much an endpoint may send and receive."""

from dataclasses import dataclass
from typing import Self

#: Slower, and a single packet would be waited for too long; faster, and nothing would ever wait.
SLOWEST, FASTEST = 1000, 10**15
#: What may come at once without a word about it: as much as in this part of a second, but at least two
#: of the largest packets that a sender hands over in one piece. TCP that has lost all it sent is silent for
#: 0.2 seconds and more; what it could have sent meanwhile must still be there then (decision 0031).
_BURST_SECONDS = 0.5
_LEAST_BURST = 2 * 65536 * 8


@dataclass(frozen=True, slots=True)
class Rate:
    """Bits per second in the long run, and bits that may come at once beside that."""

    bits: int
    burst: int

    @classmethod
    def of(cls, bits: int, burst: int = 0) -> Self:
        """A rate; without a burst it gets one that TCP can live with. Raises ValueError."""
        if not SLOWEST <= bits <= FASTEST:
            raise ValueError(f"a rate of {bits} bit/s is none; {SLOWEST} to 10^15 are")
        if not 0 <= burst <= FASTEST:
            raise ValueError(f"a burst of {burst} bits is none; 0 to 10^15 are")
        return cls(bits, burst or max(_LEAST_BURST, int(bits * _BURST_SECONDS)))


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """What an endpoint may send (egress) and receive (ingress); None is as much as it can."""

    egress: Rate | None = None
    ingress: Rate | None = None
