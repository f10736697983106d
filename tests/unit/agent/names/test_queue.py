"""In which order answers are learnt, and how many at once."""

import asyncio
from ipaddress import IPv4Address, ip_address

from kinety.agent.names.queue import NameQueue
from kinety.model.name import Answer

GREEDY, MODEST = ip_address("10.0.0.1"), ip_address("10.0.0.2")


def answer(name: str, client: IPv4Address | None, addresses: int = 1, chain: tuple[str, ...] = ()) -> Answer:
    return Answer(name, tuple((IPv4Address(each), 60) for each in range(addresses)), chain, client)


def taken(*answers: Answer) -> list[list[str]]:
    """Names of what is taken at once, each time until nothing is left."""

    async def play() -> list[list[str]]:
        queue = NameQueue()
        for each in answers:
            queue.put(each)
        found = []
        while queue:
            found.append([waiting.answer.name for waiting in queue.take()])
        return found + ([] if not queue.take() else [["more"]])

    return asyncio.run(play())


def test_each_client_has_its_turn() -> None:
    many = [answer(f"g{each}", GREEDY) for each in range(3)]
    assert taken(*many, answer("m0", MODEST), answer("m1", MODEST), answer("o", None)) == [
        ["g0", "m0", "o", "g1", "m1", "g2"]
    ]


def test_a_step_is_bounded_by_what_comes_of_it() -> None:
    large = [answer(f"g{each}", GREEDY, 400) for each in range(6)]
    assert taken(*large, answer("m0", MODEST)) == [["g0", "m0", "g1", "g2"], ["g3", "g4", "g5"]]
    chains = [answer(f"c{each}", GREEDY, 400, ("a", "b", "c")) for each in range(2)]
    assert taken(*chains) == [["c0"], ["c1"]]


def test_who_waits_hears_of_its_own_answer() -> None:
    async def play() -> tuple[bool, bool]:
        queue = NameQueue()
        first, second = queue.put(answer("a", GREEDY)), queue.put(answer("b", MODEST))
        for each in queue.take():
            each.done.set_result(each.answer.name == "b")
        return await first, await second

    assert asyncio.run(play()) == (False, True)
