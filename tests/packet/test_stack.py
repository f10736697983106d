"""How much stack the programs need, by the rules of every kernel they are for.

A kernel adds up the frames of functions that wait for each other and refuses more than 512 bytes, and 256
or more below a function that makes a tail call. Linux 6.18, where the other tests run, rounds each frame up
to 16 bytes when it compiles to machine code; older kernels round up to 32 (check_max_stack_depth).
"""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from kinety.datapath.template import PROGRAMS, packaged_object
from kinety.kernel.btf_ext import FUNCTION_RECORD
from kinety.kernel.linker import INSTRUCTION
from kinety.kernel.spec import CollectionSpec, ProgramSpec

pytestmark = pytest.mark.needs("objects")

STACK_LIMIT, TAIL_CALL_LIMIT, ROUNDED_TO = 512, 256, 32
OBJECTS = ("endpoint.o", "endpoint-symbols.o", "endpoint-rodata.o")
CALL, PSEUDO_CALL, TAIL_CALL, ADD_NUMBER, FRAME_POINTER = 0x85, 1, 12, 0x07, 10
LOAD, STORES = 1, (2, 3)

Instruction = tuple[int, int, int, int]


def frame_of(instructions: list[Instruction]) -> int:
    """Bytes of a function's frame, rounded up: the furthest below the frame pointer that it reaches."""
    depth = 1
    for code, registers, offset, immediate in instructions:
        source, target = registers >> 4, registers & 0x0F
        if (code & 7 == LOAD and source == FRAME_POINTER) or (code & 7 in STORES and target == FRAME_POINTER):
            depth = max(depth, -offset)
        elif code == ADD_NUMBER:  # of an address on the stack, or of a number: then it is small
            depth = max(depth, -immediate)
    return -(-depth // ROUNDED_TO) * ROUNDED_TO


def chains(program: ProgramSpec) -> Iterator[tuple[int, int]]:
    """For each way from the entry to a function: bytes below it, and with a tail call in it, or else 0."""
    code = list(INSTRUCTION.iter_unpack(program.instructions))
    starts = [start for start, _ in FUNCTION_RECORD.iter_unpack(program.functions)]
    functions = {start: code[start:end] for start, end in pairwise([*starts, len(code)])}
    waiting = [(0, 0)]
    while waiting:
        start, below = waiting.pop()
        body = functions[start]
        calls = [(at, one) for at, one in enumerate(body, start) if one[0] == CALL]
        tail = any(one[1] >> 4 == 0 and one[3] == TAIL_CALL for _, one in calls)
        depth = below + frame_of(body)
        yield depth, below if tail else 0
        waiting += [(at + 1 + one[3], depth) for at, one in calls if one[1] >> 4 == PSEUDO_CALL]


@pytest.mark.parametrize("name", OBJECTS)
def test_the_stack_suffices_on_older_kernels(name: str) -> None:
    spec = CollectionSpec.parse(packaged_object(name))
    for program in PROGRAMS:
        depths, below_tail_calls = zip(*chains(spec.programs[program]), strict=True)
        assert STACK_LIMIT / 2 < max(depths) <= STACK_LIMIT, program
        assert 0 < max(below_tail_calls) < TAIL_CALL_LIMIT, program
