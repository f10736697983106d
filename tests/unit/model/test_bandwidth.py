import pytest

from kinety.model.bandwidth import FASTEST, SLOWEST, Rate


def test_a_burst_that_is_not_said_is_half_a_second_and_some_large_packets_at_least() -> None:
    assert Rate.of(100_000_000) == Rate(100_000_000, 50_000_000)
    assert Rate.of(1000).burst == 2 * 65536 * 8
    assert Rate.of(1000, 1) == Rate(1000, 1)


@pytest.mark.parametrize(("bits", "burst"), [(SLOWEST - 1, 0), (0, 1), (FASTEST + 1, 0), (1000, -1)])
def test_what_is_no_rate_is_refused(bits: int, burst: int) -> None:
    with pytest.raises(ValueError, match="is none"):
        Rate.of(bits, burst)
