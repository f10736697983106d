"""Symbols whose value is the datum: written into instructions, wide enough or refused, and no map."""

from __future__ import annotations

import struct

import pytest

from kinety.kernel.collection import Collection
from kinety.kernel.elf import ElfObject
from kinety.kernel.linker import Linker
from kinety.kernel.spec import CollectionSpec

from .assembly import ALLOC, EXECUTABLE, FUNCTION, Part, Reloc, Sym, elf, leave, load_address
from .conftest import Compiler

SYMBOL = '#define SYMBOL(name) ({ __u64 v; asm("%0 = " #name " ll" : "=r"(v)); (typeof(name))v; })\n'


def declared(type_name: str, name: str, value: int | str) -> str:
    """A line of C that declares a symbol with a default."""
    return f'const volatile __attribute__((section("symbols"), used)) {type_name} {name} = {value};\n'


THREE = (
    SYMBOL
    + declared("__u8", "small", 3)
    + declared("__s32", "signed_one", -2)
    + declared("__u64", "wide", 1 << 40)
    + 'SEC("tc") int f(struct __sk_buff *s) { return SYMBOL(wide) >> s->mark; }\n'
    + 'SEC("tc") int g(struct __sk_buff *s) { return SYMBOL(small) + SYMBOL(signed_one) + SYMBOL(small); }\n'
)


@pytest.fixture
def three(compile_c: Compiler) -> CollectionSpec:
    return CollectionSpec.parse(compile_c(THREE))


def loaded_numbers(spec: CollectionSpec, program: str) -> list[int]:
    """What the instructions load, in order."""
    code = spec.programs[program].instructions
    numbers = []
    for use in spec.programs[program].symbols:
        low, high = (struct.unpack_from("=BBhI", code, (use.instruction + part) * 8)[3] for part in (0, 1))
        numbers.append(low | high << 32)
    return numbers


@pytest.mark.needs("clang")
def test_defaults_stand_in_the_instructions(three: CollectionSpec) -> None:
    assert {name: (each.size, each.default) for name, each in three.symbols.items()} == {
        "small": (1, 3),
        "signed_one": (4, -2),
        "wide": (8, 1 << 40),
    }
    assert loaded_numbers(three, "f") == [1 << 40]
    assert sorted(set(loaded_numbers(three, "g"))) == [3, (1 << 32) - 2]
    assert not three.maps, "no map is made of symbols"


@pytest.mark.needs("clang")
def test_a_value_changes_its_own_symbol_in_a_copy(three: CollectionSpec) -> None:
    other = three.with_symbols({"wide": (1 << 64) - 5})
    assert loaded_numbers(other, "f") == [(1 << 64) - 5]
    assert other.programs["g"].instructions == three.programs["g"].instructions
    assert loaded_numbers(three, "f") == [1 << 40]


@pytest.mark.needs("clang")
@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"small": 256}, "constant small = 256 is outside 0..255"),
        ({"small": -1}, "constant small = -1 is outside 0..255"),
        ({"signed_one": 1 << 31}, "is outside -2147483648..2147483647"),
        ({"tiny": 1, "small": 1}, "no symbol tiny; it has signed_one, small, wide"),
    ],
)
def test_what_does_not_fit_or_exist_is_refused(
    three: CollectionSpec, values: dict[str, int], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        three.with_symbols(values)


@pytest.mark.needs("clang")
def test_constants_and_symbols_are_two_things(compile_c: Compiler) -> None:
    spec = CollectionSpec.parse(
        compile_c('const volatile __u32 level = 1;SEC("tc") int f(struct __sk_buff *s) { return level; }')
    )
    with pytest.raises(ValueError, match="no symbol level; it has none"):
        spec.with_symbols({"level": 2})
    contents = spec.with_constants({"level": 7}).maps[".rodata"].contents
    assert contents is not None
    assert contents[:4] == (7).to_bytes(4, "little")


@pytest.mark.needs("clang", "root", "bpf")
def test_the_program_computes_with_the_values(three: CollectionSpec) -> None:
    changed = three.with_symbols({"wide": 6 << 33, "small": 200, "signed_one": -10})
    with Collection.load(changed) as loaded:
        packet = bytes(64)
        assert loaded.programs["f"].test_run(packet, mark=33).retval == 6
        assert loaded.programs["g"].test_run(packet).retval == 390


@pytest.mark.needs("clang", "root", "bpf")
def test_the_verifier_removes_what_a_symbol_rules_out(compile_c: Compiler) -> None:
    spec = CollectionSpec.parse(
        compile_c(
            SYMBOL
            + declared("__u32", "enabled", 1)
            + 'SEC("tc") int f(struct __sk_buff *s)'
            + " { if (SYMBOL(enabled)) s->mark = bpf_get_prandom_u32(); return 0; }"
        )
    )
    with Collection.load(spec) as on, Collection.load(spec.with_symbols({"enabled": 0})) as off:
        assert len(off.programs["f"].translated()) < len(on.programs["f"].translated())


@pytest.mark.parametrize(
    ("symbol", "code", "complaint"),
    [
        (Sym("nameless", 2, 0, 0, 3), load_address(), "names no symbol of it"),
        (Sym("level", 2, 0, 8), load_address(8), r"level\+8 in section 'symbols'"),
    ],
)
def test_a_reference_into_the_middle_is_refused(symbol: Sym, code: bytes, complaint: str) -> None:
    code += leave()
    parts = [
        Part("tc", code, flags=ALLOC | EXECUTABLE, relocations=[Reloc(0, 1)]),
        Part("symbols", bytes(8)),
    ]
    found = ElfObject.parse(elf(parts, [symbol, Sym("entry", 1, 0, len(code), FUNCTION)]))
    linker = Linker(found, None, {})
    (entry,) = linker.functions
    with pytest.raises(ValueError, match=complaint):
        linker.link(entry)


@pytest.mark.needs("clang")
def test_a_symbol_that_is_no_number_is_refused(compile_c: Compiler) -> None:
    text = (
        "struct pair { __u32 a, b; };\n"
        + declared("struct pair", "both", "{1, 2}")
        + 'SEC("tc") int f(struct __sk_buff *s) { __u64 v; asm("%0 = both ll" : "=r"(v)); return v; }'
    )
    with pytest.raises(ValueError, match="both in section 'symbols' is no number"):
        CollectionSpec.parse(compile_c(text))


@pytest.mark.needs("clang")
def test_variables_say_where_they_lie(compile_c: Compiler) -> None:
    spec = CollectionSpec.parse(
        compile_c(
            "__u64 seen[3]; __u32 limit = 5;"
            'SEC("tc") int f(struct __sk_buff *s) { seen[1] += s->len; return limit; }'
        )
    )
    seen, limit = spec.variables["seen"], spec.variables["limit"]
    assert (seen.section, seen.size) == (".bss", 24)
    assert (limit.section, limit.offset, limit.size) == (".data", 0, 4)
