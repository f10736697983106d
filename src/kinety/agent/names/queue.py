"""Answers that wait to be learnt: a few at a time, and one of each client in turn.

A client that asks for endless names has a long queue of its own; whoever asks for one name waits for as many
answers as there are clients.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from kinety.model.address import IPAddress
from kinety.model.name import Answer

#: Mappings that are learnt as one step, about: some 20 ms for which nothing else changes.
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Waiting:
    """An answer, and who waits for whether the kernel has it."""

    answer: Answer
    done: asyncio.Future[bool]


class NameQueue:
    """Whoever's answers wait. Of one event loop."""

    def __init__(self) -> None:
        #: The client whose turn is next comes first.
        self._of_client: dict[IPAddress | None, deque[Waiting]] = {}

    def __bool__(self) -> bool:
        return bool(self._of_client)

    def put(self, answer: Answer) -> asyncio.Future[bool]:
        """Have an answer wait; the result is for whoever takes it to set."""
        waiting = Waiting(answer, asyncio.get_running_loop().create_future())
        self._of_client.setdefault(answer.client, deque()).append(waiting)
        return waiting.done

    def take(self) -> list[Waiting]:
        """What is learnt next."""
        taken: list[Waiting] = []
        mappings = 0
        while self._of_client and mappings < _AT_ONCE:
            client, first = next(iter(self._of_client.items()))
            del self._of_client[client]
            taken.append(first.popleft())
            mappings += taken[-1].answer.mappings
            if first:
                self._of_client[client] = first
        return taken
