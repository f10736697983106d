"""How often something is said."""

from kinety.agent.names.seldom import Seldom


def test_it_is_said_once_in_a_while_with_how_often_it_was_not() -> None:
    now = 0.0
    seldom = Seldom(60.0, lambda: now)
    assert [seldom() for _ in range(4)] == [0, None, None, None]
    now = 59.9
    assert seldom() is None
    now = 60.0
    assert [seldom(), seldom()] == [4, None]
