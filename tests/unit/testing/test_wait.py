import time

import pytest

from kinety.testing.wait import wait_until


def test_returns_the_first_true_answer() -> None:
    answers = iter([0, "", None, [7], [8]])
    assert wait_until(lambda: next(answers), 5) == [7]
    assert next(answers) == [8]


def test_asks_once_even_when_there_is_no_time() -> None:
    assert wait_until(lambda: "at once", 0) == "at once"


def test_gives_up_with_what_it_waited_for() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"^not within 0\.05 s: the moon$"):
        wait_until(lambda: False, 0.05, "the moon")
    assert time.monotonic() - began >= 0.05


def test_an_error_of_the_predicate_is_not_waited_out() -> None:
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 / 0, 60)
