"""What is remembered, and what is forgotten."""

from kinety.proxy.dns.recent import Recent


def test_what_is_used_stays_and_what_is_not_goes() -> None:
    memory: Recent[int, str] = Recent(3)
    memory.put(0, "kept")
    for number in range(1, 100):
        memory.put(number, str(number))
        assert memory.get(0) == "kept"
        assert memory.get(number) == str(number)
    assert len(memory) <= 6
    assert memory.get(50) is None
    memory.clear()
    assert memory.get(0) is None
