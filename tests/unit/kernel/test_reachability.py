"""What cannot run is found, construct by construct; whatever is in doubt may run."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from kinety.kernel.reachability import pruned, reachable
from kinety.kernel.spec import MapSpec
from kinety.kernel.uapi import MapType

from .instructions import (
    Code,
    address,
    assembled,
    calculate,
    call,
    constants,
    exit_,
    far,
    helper,
    instruction,
    jump,
    load,
    long,
    map_,
    object_of,
)

#: Words of 32 bits at 0, 4, 8 and 12: 0, 1, all ones, and 7.
SECTION = struct.pack("=IIII", 0, 1, 0xFFFFFFFF, 7)
NOTHING: frozenset[int] = frozenset()
DEAD = calculate("mov", 0, 1)
RETURN = [calculate("mov", 0, 0), exit_()]


def dead(codes: Sequence[Code]) -> frozenset[int]:
    """Instructions of a program that cannot run; second halves of loads do not count."""
    program = assembled(codes)
    starts = [n for n in range(len(program.instructions) // 8) if program.instructions[8 * n]]
    return frozenset(starts) - reachable(program, {".rodata": SECTION})


def skips(*before: Code, size: int = 4, offset: int = 0, how: str = "==", right: int = 0) -> list[Code]:
    """Load through register 1 as ``before`` left it, and skip one instruction if it compares so."""
    return [*before, load(1, 1, size, offset), jump(how, 1, right, 1), DEAD, *RETURN]


@pytest.mark.parametrize(
    ("codes", "wanted"),
    [
        pytest.param(skips(address(1, 0)), {4}, id="a constant that is 0"),
        pytest.param(skips(address(1, 4)), set(), id="a constant that is 1 does not skip"),
        pytest.param(skips(address(1, 0), offset=12, right=7), {4}, id="an offset of the load"),
        pytest.param(skips(address(1, 12), size=1, right=7), {4}, id="one byte"),
        pytest.param(skips(address(1, 8), size=2, right=0xFFFF), {4}, id="two bytes, without a sign"),
        pytest.param(skips(address(1, 0), size=8, how=">", right=1), {4}, id="eight bytes"),
        pytest.param(
            skips(address(2, 12), calculate("mov", 1, 2, register=True), right=7), {5}, id="an address moved"
        ),
        pytest.param(skips(address(1, 16), calculate("add", 1, -4), right=7), {5}, id="an address added to"),
        pytest.param(skips(address(1, 8), calculate("sub", 1, -4), right=7), {5}, id="and subtracted from"),
    ],
)
def test_constants_are_known(codes: Sequence[Code], wanted: set[int]) -> None:
    assert dead(codes) == wanted


@pytest.mark.parametrize(
    "codes",
    [
        pytest.param(skips(address(1, 0, ".bss")), id="a section that programs change"),
        pytest.param(skips(map_(1, "rows")), id="a map"),
        pytest.param(skips(long(1, 0)), id="a number as an address"),
        pytest.param(skips(address(1, 0), offset=16), id="behind the section"),
        pytest.param(skips(address(1, 0), offset=-1), id="before the section"),
        pytest.param(skips(address(1, 12), size=8), id="across its end"),
        pytest.param(skips(address(1, 0), calculate("add", 1, 0, wide=False)), id="half an address"),
        pytest.param(skips(address(1, 0), calculate("and", 1, -1)), id="an address that is calculated with"),
        pytest.param(skips(address(1, 0), calculate("add", 1, 2, register=True)), id="an unknown offset"),
        pytest.param(skips(address(1, 0), helper(7)), id="an argument after a call"),
        pytest.param([jump("==", 1, 0, 1), DEAD, *RETURN], id="an argument"),
        pytest.param(
            [address(1, 0), instruction(0x81, 1, 1), jump("==", 1, 0, 1), DEAD, *RETURN],
            id="a load with a sign, which old verifiers do not know",
        ),
        pytest.param([load(1, 10, 4, -8), jump("==", 1, 0, 1), DEAD, *RETURN], id="the stack"),
        pytest.param([long(1, 0, 3), jump("==", 1, 0, 1), DEAD, *RETURN], id="a number of another kind"),
    ],
)
def test_what_is_in_doubt_may_run(codes: Sequence[Code]) -> None:
    assert dead(codes) == NOTHING


@pytest.mark.parametrize(
    ("operation", "left", "right", "wide", "narrow"),
    [
        ("mov", 5, -1, (1 << 64) - 1, (1 << 32) - 1),
        ("add", (1 << 64) - 1, 2, 1, 1),
        ("sub", 1, 2, (1 << 64) - 1, (1 << 32) - 1),
        ("mul", 1 << 33 | 3, 3, 3 << 33 | 9, 9),
        ("or", 1 << 40 | 6, 9, 1 << 40 | 15, 15),
        ("and", 1 << 40 | 6, -4, 1 << 40 | 4, 4),
        ("xor", 1 << 40 | 6, 3, 1 << 40 | 5, 5),
        ("lsh", 1 << 31 | 1, 4, 1 << 35 | 16, 16),
        ("rsh", 1 << 36 | 32, 4, 1 << 32 | 2, 2),
    ],
)
@pytest.mark.parametrize("register", [False, True])
def test_numbers_are_calculated(
    operation: str, left: int, right: int, wide: int, narrow: int, register: bool
) -> None:
    for is_wide, wanted in ((True, wide), (False, narrow)):
        codes = [
            long(1, left),
            calculate("mov", 2, right),
            calculate(operation, 1, 2 if register else right, register=register, wide=is_wide),
            long(3, wanted),
            jump("==", 1, 3, 1, register=True),
            DEAD,
            *RETURN,
        ]
        assert dead(codes) == {7}, "the other way is never taken"


@pytest.mark.parametrize(
    "code",
    [
        calculate("div", 1, 1),
        calculate("mod", 1, 2),
        calculate("neg", 1, 0),
        calculate("arsh", 1, 1),
        calculate("lsh", 1, 64),
        calculate("rsh", 1, 32, wide=False),
        instruction(0xD4, 1, immediate=16),  # a change of byte order
        instruction(0xBF, 1, 1, 8),  # a move of eight bits with their sign
        instruction(0xDB, 10, 1, -8, 1),  # an atomic addition that fetches
    ],
)
def test_what_old_verifiers_do_not_calculate_is_unknown(code: bytes) -> None:
    known = [long(1, 0), jump("==", 1, 0, 1), DEAD, *RETURN]
    assert dead(known) == {3}
    assert dead([known[0], code, *known[1:]]) == NOTHING


@pytest.mark.parametrize(
    ("how", "left", "right", "wide", "narrow"),
    [
        ("==", 1 << 32, 0, False, True),
        ("!=", 1 << 32, 0, True, False),
        (">", 1 << 32, 1, True, False),
        (">=", 7, 7, True, True),
        ("<", 7, 7, False, False),
        ("<=", 1 << 32 | 9, 7, False, False),
        ("&", 1 << 32 | 6, 1, False, False),
        ("&", 6, 2, True, True),
        ("s>", (1 << 32) - 1, 0, True, False),
        ("s>=", (1 << 64) - 1, -1, True, True),
        ("s<", (1 << 64) - 5, -4, True, True),
        ("s<=", 1 << 31, 0, False, True),
        (">", 5, -1, False, False),
    ],
)
@pytest.mark.parametrize("register", [False, True])
def test_comparisons_are_decided(
    how: str, left: int, right: int, wide: bool, narrow: bool, register: bool
) -> None:
    for is_wide, taken in ((True, wide), (False, narrow)):
        codes = [
            long(1, left),
            calculate("mov", 2, right),
            jump(how, 1, 2 if register else right, 2, register=register, wide=is_wide),
            DEAD,
            exit_(),
            *RETURN,
        ]
        assert dead(codes) == ({4, 5} if taken else {6, 7})


def test_a_comparison_that_nobody_knows_goes_both_ways() -> None:
    assert dead([long(1, 0), instruction(0xE5, 1, 0, 1), DEAD, *RETURN]) == NOTHING


def test_what_ways_disagree_about_is_unknown() -> None:
    def ways(one: int, other: int) -> list[Code]:
        return [
            calculate("mov", 6, one),
            jump("==", 1, 0, 1),
            calculate("mov", 6, other),
            jump("==", 6, 4, 1),
            DEAD,
            *RETURN,
        ]

    assert dead(ways(4, 4)) == {4}
    assert dead(ways(4, 5)) == NOTHING
    assert dead(ways(5, 4)) == NOTHING


def test_loops_end_and_are_left() -> None:
    assert dead([calculate("mov", 1, 0), calculate("add", 1, 1), jump("<", 1, 8, -2), *RETURN]) == NOTHING
    endless = [calculate("mov", 1, 0), jump("ja", 0, 0, -1), *RETURN]
    assert dead(endless) == {2, 3}, "nothing follows a loop without an end"


def test_jumps_of_either_reach_are_followed() -> None:
    assert dead([jump("ja", 0, 0, 1), DEAD, *RETURN]) == {1}
    assert dead([far(1), DEAD, *RETURN]) == {1}


def test_a_function_runs_when_its_call_does() -> None:
    for constant, wanted in ((4, set()), (0, {4, 7, 8})):
        codes = [
            address(1, constant),
            load(1, 1, 4),
            jump("==", 1, 0, 1),
            call(2),
            *RETURN,
            calculate("mov", 0, 3),
            exit_(),
        ]
        assert dead(codes) == wanted


def test_a_functions_address_makes_it_run() -> None:
    codes = [long(2, 4, 4), *RETURN, DEAD, *RETURN]
    assert dead(codes) == {4}, "the function starts behind it"


def test_a_call_leaves_the_registers_that_are_the_callers() -> None:
    codes = [
        address(6, 0),
        address(5, 0),
        call(6),
        load(6, 6, 4),
        jump("==", 6, 0, 1),
        DEAD,
        load(5, 5, 4),
        *RETURN,
        jump("==", 6, 0, 1),
        calculate("mov", 0, 1),
        exit_(),
    ]
    assert dead(codes) == {7}, "and a function knows nothing of them"


@pytest.mark.parametrize(
    "codes",
    [
        pytest.param([jump("ja", 0, 0, 5), DEAD, *RETURN], id="a jump behind the end"),
        pytest.param([jump("ja", 0, 0, -5), DEAD, *RETURN], id="a jump before the start"),
        pytest.param([jump("ja", 0, 0, 2), *RETURN, DEAD], id="a way over the end"),
        pytest.param([jump("ja", 0, 0, 2), DEAD, long(1, 7), *RETURN], id="a jump into a load"),
        pytest.param([jump("ja", 0, 0, 2), *RETURN, instruction(0x18, 1)], id="half a load"),
        pytest.param([jump("ja", 0, 0, 2), *RETURN, call(40)], id="a call of nothing"),
        pytest.param([jump("ja", 0, 0, 2), *RETURN, long(1, 70, 4)], id="the address of nothing"),
        pytest.param([jump("ja", 0, 0, 2), *RETURN, DEAD[:1] + b"\x0b" + DEAD[2:]], id="register 11"),
        pytest.param([jump("ja", 0, 0, 2), *RETURN, exit_(), DEAD[:5]], id="half an instruction"),
        pytest.param([], id="nothing"),
    ],
)
def test_of_a_malformed_program_nothing_is_said(codes: Sequence[Code]) -> None:
    assert dead(codes) == NOTHING


ROWS = MapSpec("rows", MapType.HASH, 4, 4, 16)
MORE = MapSpec("more", MapType.HASH, 4, 4, 16)
BSS = MapSpec(".bss", MapType.ARRAY, 4, 8, 1, contents=bytes(8))


def test_a_map_that_cannot_be_reached_is_let_go_of() -> None:
    codes = [
        map_(7, "more"),
        address(1, 0),
        load(1, 1, 4),
        jump("==", 1, 0, 4),
        map_(8, "rows"),
        address(8, 0, ".bss"),
        *RETURN,
    ]
    before = object_of(
        assembled(codes), {".rodata": constants(SECTION), "rows": ROWS, "more": MORE, ".bss": BSS}
    )
    after = pruned(before)
    assert after.maps.keys() == {".rodata", "more", ".bss"}, "sections of variables stay"
    program = after.programs["written"]
    assert [reference.map for reference in program.references] == ["more", ".rodata", ".bss"]
    assert program.instructions[6 * 8 : 8 * 8] == long(8, 0)
    assert len(program.instructions) == len(before.programs["written"].instructions)
    assert pruned(after) == after


def test_a_map_that_nobody_names_is_let_go_of() -> None:
    assert pruned(object_of(assembled(RETURN), {"rows": ROWS})).maps == {}


def test_a_program_that_is_reachable_is_left_as_it_is() -> None:
    before = object_of(assembled([map_(7, "rows"), *RETURN]), {"rows": ROWS})
    assert pruned(before) == before
