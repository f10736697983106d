"""One target under atheris, in a process of its own: ``python -m tests.fuzz.worker TARGET OPTIONS…``.

The options are libFuzzer's; a file among them is asked about once. Needs the extra ``soak``.
"""

from __future__ import annotations

import random
import sys

import atheris

from tests.fuzz.damage import damaged

with atheris.instrument_imports(include=["kinety"]):
    from tests.fuzz.target import TARGETS


def fuzz(name: str, options: list[str]) -> None:
    """Hand this process to libFuzzer; it does not return."""

    def ask(data: bytes) -> None:
        try:
            TARGETS[name](data)
        except ValueError as error:
            if not str(error):
                raise AssertionError("a refusal without a word") from error

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        return damaged(data, chance)[:most] if chance.random() < 0.5 else bytes(atheris.Mutate(data, most))

    atheris.Setup([sys.argv[0], *options], ask, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    fuzz(sys.argv[1], sys.argv[2:])
