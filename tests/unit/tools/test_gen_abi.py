"""The generator: what changes the contract's number, what does not, and what it refuses."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kinety import abi
from kinety.kernel.spec import CollectionSpec
from tests.feature import ROOT

pytestmark = pytest.mark.needs("clang")


class Tree:
    """A copy of the headers that a test may change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.headers = root / "bpf/abi"
        shutil.copytree(ROOT / "bpf/abi", self.headers)

    def change(self, header: str, old: str, new: str) -> None:
        path = self.headers / header
        text = path.read_text()
        assert text.count(old) == 1, f"{header} has {old!r} {text.count(old)} times"
        path.write_text(text.replace(old, new))

    def compile(self) -> Path:
        target = self.root / "abi.o"
        include = f"-I/usr/include/{platform.machine()}-linux-gnu"
        flags = ["-O2", "-g", "-target", "bpf", "-mcpu=v3", f"-I{self.root / 'bpf'}", include]
        source = self.headers / "abi.bpf.c"
        subprocess.run(["clang-14", *flags, "-c", str(source), "-o", str(target)], check=True)
        return target

    def generate(self) -> subprocess.CompletedProcess[str]:
        """Run the generator on what was compiled."""
        paths = [self.compile(), self.headers, self.root / "abi", self.root / "reasons.md"]
        command = [sys.executable, str(ROOT / "tools/gen_abi.py"), *map(str, paths)]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    def number(self) -> int:
        """The contract's number after generating, from the header that programs include."""
        done = self.generate()
        assert done.returncode == 0, done.stderr
        text = (self.headers / "contract_hash.h").read_text()
        return int(text.split("KINETY_CONTRACT_HASH 0x")[1].split("ULL")[0], 16)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_the_number_is_stable_and_ends_up_in_the_object(tree: Tree) -> None:
    assert tree.number() == tree.number() == abi.CONTRACT_HASH
    assert CollectionSpec.parse(tree.compile().read_bytes()).contract_hash == abi.CONTRACT_HASH


@pytest.mark.parametrize(
    ("header", "old", "new"),
    [
        ("types.h", "__u64 packets;\n\t__u64 bytes;\n}", "__u64 bytes;\n\t__u64 packets;\n}"),
        ("types.h", "ENDPOINT_READY = 1 << 0", "ENDPOINT_READY = 1 << 1"),
        ("types.h", "__be32 class_id;", "__u32 class_id;"),
        ("maps.h", "__uint(max_entries, 1 << 20);", "__uint(max_entries, 1 << 21);"),
        ("config.h", "CONSTANT(__u32, config_ipv4, 1);\n", ""),
        ("reasons.h", "POLICY_DENIED, 16,", "POLICY_DENIED, 15,"),
    ],
    ids=["order", "flag", "byte order", "size", "constant", "reason"],
)
def test_what_both_sides_rely_on_changes_the_number(tree: Tree, header: str, old: str, new: str) -> None:
    tree.change(header, old, new)
    assert tree.number() != abi.CONTRACT_HASH


def test_words_and_defaults_do_not_change_the_number(tree: Tree) -> None:
    tree.change("reasons.h", "Denied by policy", "Forbidden by policy")
    tree.change("config.h", "config_udp_idle, 60", "config_udp_idle, 61")
    tree.change("types.h", "/* bytes of the packet, without the link header */", "/* bytes */")
    assert tree.number() == abi.CONTRACT_HASH
    assert "Forbidden by policy" in (tree.root / "abi/enumerations.py").read_text()
    assert "Forbidden by policy" in (tree.root / "reasons.md").read_text()


@pytest.mark.parametrize(
    ("header", "old", "new", "complaint"),
    [
        ("types.h", "__u32 ipcache_generation;", "__u8 ipcache_generation;", "node_state has a hole before"),
        (
            "types.h",
            "counter {\n\t__u64 packets;\n",
            "counter {\n\t__u64 packets; __u32 small;\n",
            "counter has a hole before bytes",
        ),
        ("types.h", "__u32 node; ", "__s32 node; ", "field node is of a kind the contract has no Python"),
        ("reasons.h", "POLICY_DENIED, 16,", "POLICY_DENIED, 17,", "one number to two reasons"),
    ],
    ids=["hole", "middle", "signed", "number"],
)
def test_a_contract_that_cannot_be_kept_is_refused(
    tree: Tree, header: str, old: str, new: str, complaint: str
) -> None:
    tree.change(header, old, new)
    done = tree.generate()
    assert done.returncode == 1
    assert complaint in done.stderr
    assert not (tree.root / "abi").exists()


def test_without_arguments_it_says_how_to_call_it() -> None:
    command = [sys.executable, str(ROOT / "tools/gen_abi.py")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "gen_abi.py OBJECT HEADERS PACKAGE REASONS_PAGE" in done.stderr
