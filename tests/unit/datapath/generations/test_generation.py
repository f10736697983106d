"""What makes an endpoint's programs: the right object, the right numbers, and errors that say which."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from kinety import abi
from kinety.datapath.generations.compile import Compile
from kinety.datapath.generations.generation import checked_spec, packaged_spec
from kinety.datapath.generations.resident import Resident
from kinety.datapath.generations.rodata import Rodata
from kinety.datapath.generations.symbols import OBJECT, Symbols
from kinety.datapath.generations.values import Values
from kinety.model.address import pack_address
from kinety.model.endpoint import EndpointId
from tests.feature import ROOT

VALUES = Values(
    EndpointId(7),
    65540,
    pack_address("10.1.2.3"),
    pack_address("fd00::1:2"),
    bytes.fromhex("020102030405"),
    bytes.fromhex("02aabbccddee"),
)


def read(path: str) -> bytes:
    return (ROOT / "src/kinety/bpf" / path).read_bytes()


def test_values_are_the_bytes_in_memory() -> None:
    values = VALUES.constants()
    memory = {name: number.to_bytes(8, sys.byteorder) for name, number in values.items()}
    assert memory["self_host_mac"][:6] == VALUES.host_mac
    assert memory["self_container_mac"][:6] == VALUES.container_mac
    assert memory["self_ipv6_high"] + memory["self_ipv6_low"] == VALUES.ipv6
    assert values["self_ipv4"].to_bytes(4, sys.byteorder) == VALUES.ipv4[12:]


def test_an_address_that_is_not_there_is_zero() -> None:
    none = bytes(16)
    values = Values(VALUES.endpoint, 65540, none, none, VALUES.host_mac, VALUES.container_mac).constants()
    assert values["self_ipv4"] == values["self_ipv6_high"] == values["self_ipv6_low"] == 0


def test_values_of_a_row() -> None:
    row = abi.Endpoint.unpack(bytes(abi.Endpoint.SIZE))
    assert Values.of(row).constants().keys() == VALUES.constants().keys()
    assert set(Values.of(row).constants().values()) == {0}


@pytest.mark.needs("objects")
def test_only_the_older_generations_know_an_endpoint() -> None:
    own = VALUES.constants().keys()
    assert own <= packaged_spec("endpoint-symbols.o").symbols.keys()
    assert own <= packaged_spec("endpoint-rodata.o").constants.keys()
    assert not own & packaged_spec("endpoint.o").constants.keys()


@pytest.mark.needs("objects")
def test_all_know_the_same_constants_of_the_node() -> None:
    def defaults(found: Mapping[str, object]) -> dict[str, int]:
        return {name: c.default for name, c in found.items() if name.startswith("config_")}  # type: ignore

    resident = defaults(packaged_spec("endpoint.o").constants)
    assert resident.keys() == abi.CONSTANTS.keys()
    assert defaults(packaged_spec("endpoint-rodata.o").constants) == resident
    assert defaults(packaged_spec("endpoint-symbols.o").symbols) == resident


@pytest.mark.needs("objects")
def test_symbols_need_no_map_of_variables_and_rodata_two() -> None:
    for build, expected in ((Symbols, set()), (Rodata, {".rodata.config", ".bss"})):
        spec = build().generate(VALUES, {})
        assert {name for name in spec.maps if name.startswith(".")} == expected
        assert spec.maps.keys() - expected == abi.MAPS.keys()


@pytest.mark.needs("objects")
def test_resident_programs_are_the_same_for_every_endpoint() -> None:
    other = Values(EndpointId(8), 65541, *(bytes(16),) * 2, *(bytes(6),) * 2)
    resident, symbols = Resident(), Symbols()
    assert resident.generate(VALUES, {}) == resident.generate(other, {})
    assert symbols.generate(VALUES, {}) != symbols.generate(other, {})


@pytest.mark.needs("objects")
@pytest.mark.parametrize("build", [Symbols, Rodata])
def test_an_object_of_another_generation_misses_what_it_should_have(
    build: type[Symbols] | type[Rodata],
) -> None:
    stranger = build(packaged_spec("endpoint.o"))
    with pytest.raises(ValueError, match=r"no (symbol|constant) .*self_container_mac"):
        stranger.generate(VALUES, {})


@pytest.mark.needs("objects")
def test_a_stale_a_foreign_and_a_truncated_object_are_refused_by_name() -> None:
    elf = read(OBJECT)
    stale = elf.replace(abi.CONTRACT_HASH.to_bytes(8, sys.byteorder), bytes(8))
    for broken, complaint in (
        (stale, "compiled with contract 0x0000000000000000"),
        (Path(sys.executable).resolve().read_bytes(), "not a BPF object"),
        (elf[: len(elf) // 2], "cut off|not a readable ELF object"),
        (b"", "not a readable ELF object"),
    ):
        with pytest.raises(ValueError, match=complaint) as refusal:
            checked_spec(broken, OBJECT)
        assert refusal.value.__notes__ == [f"object: {OBJECT}"]


def test_an_object_that_was_not_built_says_what_to_do() -> None:
    with pytest.raises(FileNotFoundError, match="make bpf"):
        packaged_spec("endpoint-nothing.o")


@pytest.mark.needs("objects", "clang")
def test_a_compilers_constants_are_the_loaders() -> None:
    """Compiled or patched: without code that it rules out, clang's program is the shorter one."""
    node = {"config_ipv6": 0}
    compiled, patched = Compile().generate(VALUES, node), Symbols().generate(VALUES, node)
    assert not any(name.startswith(".") for name in compiled.maps)
    for name in ("from_endpoint", "to_endpoint"):
        assert len(compiled.programs[name].instructions) < len(patched.programs[name].instructions)


@pytest.mark.needs("objects", "clang")
@pytest.mark.parametrize(
    ("node", "complaint"),
    [
        ({"config_ipv5": 1}, "config.h has no constant config_ipv5; it has config_bandwidth"),
        ({"config_ipv4": -1}, "constant config_ipv4 = -1 is outside"),
    ],
)
def test_a_constant_is_refused_before_the_compiler_runs(node: Mapping[str, int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Compile().generate(VALUES, node)


@pytest.mark.needs("objects")
def test_compiling_without_a_compiler_or_sources_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="runs clang for every endpoint: install it"):
        Compile(compiler="clang-0")
    with pytest.raises(FileNotFoundError, match="needs Kinety's C sources"):
        Compile(tmp_path, compiler=sys.executable)


@pytest.mark.needs("objects", "clang")
def test_what_does_not_compile_is_told_in_the_compilers_words(tmp_path: Path) -> None:
    (tmp_path / "endpoint.bpf.c").write_text("int broken(void) { return nothing; }\n")
    with pytest.raises(OSError, match="does not compile it") as refusal:
        Compile(tmp_path).generate(VALUES, {})
    assert "undeclared identifier 'nothing'" in refusal.value.__notes__[0]
