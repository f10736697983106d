"""What would be: an engine after facts that are taken back again."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from kinety.plan.engine import Engine
from kinety.plan.fact import Fact


class _Over(Exception):
    """Ends a step that was only supposed."""


@contextmanager
def supposing(engine: Engine, facts: Iterable[Fact]) -> Iterator[None]:
    """Inside the block the engine is as it would be after these facts; afterwards as it was before.

    Raises what the engine raises. The engine must not be changed inside the block.
    """
    try:
        with engine.step(facts):
            yield
            raise _Over
    except _Over:
        pass
