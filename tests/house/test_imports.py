"""Who may import whom: the table of ARCHITECTURE.md, and why."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

from tests.feature import ROOT
from tests.house.source import Module, modules, relative

RUNGS: dict[str, set[str]] = {
    "": set(),
    "model": set(),
    "abi": set(),
    "identity": {"model"},
    "policy": {"model"},
    "plan": {"model", "abi", "identity", "policy"},
    "explain": {"model", "identity", "policy", "plan"},
    "kernel": set(),
    "datapath": {"plan", "kernel", "abi", "model"},
    "api": {"model"},
    "source": {"model"},
    "proxy": {"model", "abi", "plan"},
    "agent": {
        "model",
        "abi",
        "identity",
        "policy",
        "plan",
        "explain",
        "kernel",
        "datapath",
        "api",
        "source",
        "proxy",
        "cni",
    },
    "testing": {"model", "abi", "identity", "policy", "plan", "explain", "kernel", "api"},
    "runner": {"model", "kernel", "api"},
    "cni": {"model", "abi", "api"},
    "cli": {"model", "abi", "identity", "policy", "plan", "explain", "api", "testing", "runner"},
}

THIRD_PARTY: dict[str, set[str]] = {
    "identity": {"pyroaring", "pydantic"},
    "policy": {"pyroaring", "pydantic", "yaml", "re2"},
    "plan": {"pyroaring"},
    "explain": {"pyroaring"},
    "api": {"aiohttp", "pydantic"},
    "source": {"grpclib", "betterproto2"},
    "proxy": {"aiohttp", "dns", "envoy", "google", "grpclib", "xds"},
    "agent": {"aiohttp"},
    "testing": {"yaml", "pydantic", "dns"},
    "cli": {"click", "yaml"},
}

PURE = ("model", "abi", "identity", "policy", "plan", "explain")

DOOR = {
    "ctypes": "system calls go through kinety.kernel, the one door, so that errno is translated once",
    "pyroute2": "netlink goes through kinety.kernel, the one door, so that a message is built in one place",
    "fcntl": "ioctls go through kinety.kernel, the one door",
}
# The other side of the door: the fake kernel answers bpf(2), whose arguments are C structures.
BEHIND_THE_DOOR = "kinety.testing.fake."

IMPURE = {
    "asyncio": "pure code awaits nothing",
    "datetime": "pure code has no clock; time is an argument",
    "http": "pure code does no I/O",
    "os": "pure code does no I/O",
    "pathlib": "pure code does no I/O; a path in a fact is a string",
    "random": "the same facts give the same plan",
    "secrets": "the same facts give the same plan",
    "select": "pure code does no I/O",
    "shutil": "pure code does no I/O",
    "signal": "pure code does no I/O",
    "sqlite3": "pure code does no I/O",
    "subprocess": "pure code does no I/O",
    "tempfile": "pure code does no I/O",
    "threading": "one owner, no locks",
    "time": "pure code has no clock; time is an argument",
    "urllib": "pure code does no I/O",
}


def of_packages(*names: str) -> list[Module]:
    return [module for module in modules() if module.package in names]


def complaint(module: Module, line: int, text: str) -> str:
    return f"{relative(module.path)}:{line}: {text}"


def test_every_package_has_its_rung() -> None:
    assert {module.package for module in modules()} <= RUNGS.keys(), "a new package needs a line in the table"


def test_the_table_is_architectures() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    table = {
        package: set(re.findall(r"`(\w+)`", allowed))
        for packages, allowed in re.findall(r"^\| [\d–′]+ \| (.*?) \| (.*?) \|$", text, re.M)
        for package in re.findall(r"`(\w+)`", packages)
    }
    assert table == {package: allowed for package, allowed in RUNGS.items() if package}


def test_packages_import_only_rungs_below() -> None:
    wrong = []
    for module in modules():
        for imported in module.imports():
            parts = imported.name.split(".")
            if parts[0] != "kinety" or len(parts) < 2 or parts[1].startswith("__"):
                continue
            if parts[1] != module.package and parts[1] not in RUNGS[module.package]:
                wrong.append(
                    complaint(module, imported.line, f"{module.package} may not import kinety.{parts[1]}")
                )
    assert not wrong, "\n".join(wrong)


def test_third_party_libraries_only_where_declared() -> None:
    wrong = []
    for module in modules():
        for imported in module.imports():
            top = imported.name.split(".")[0]
            if top == "kinety" or top in sys.stdlib_module_names:
                continue
            if top not in THIRD_PARTY.get(module.package, set()):
                wrong.append(complaint(module, imported.line, f"{module.package or 'kinety'} imports {top}"))
    assert not wrong, "\n".join(wrong)


def test_kernel_is_the_only_door() -> None:
    wrong = [
        complaint(module, imported.line, f"{imported.name}: {DOOR[top]}")
        for module in modules()
        if module.package != "kernel" and not module.name.startswith(BEHIND_THE_DOOR)
        for imported in module.imports()
        if (top := imported.name.split(".")[0]) in DOOR
    ]
    assert not wrong, "\n".join(wrong)


def test_pure_packages_do_no_io_and_have_no_clock() -> None:
    wrong = [
        complaint(module, imported.line, f"{imported.name}: {IMPURE[top]}")
        for module in of_packages(*PURE)
        for imported in module.imports()
        if (top := imported.name.split(".")[0]) in IMPURE
    ]
    assert not wrong, "\n".join(wrong)


def test_pure_packages_await_and_open_nothing() -> None:
    wrong = []
    for module in of_packages(*PURE):
        for node in ast.walk(module.tree):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                wrong.append(complaint(module, node.lineno, "pure code awaits nothing"))
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in {"open", "print", "input", "exec", "eval"}:
                wrong.append(complaint(module, called.lineno, f"pure code calls no {called.id}()"))
    assert not wrong, "\n".join(wrong)


def loaded_by(statement: str) -> set[str]:
    """The top-level modules a fresh interpreter has imported after the statement."""
    script = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split())


LIBRARIES = set().union(*THIRD_PARTY.values()) | {"asyncio", "sqlite3"}


@pytest.mark.parametrize("name", ["kinety.api.client", "kinety.api.types", "kinety.model.selector"])
def test_client_side_modules_load_no_library(name: str) -> None:
    assert loaded_by(f"import {name}") & LIBRARIES == set()


def loaded_by_command(*arguments: str) -> set[str]:
    """The same for one call of the command line, whatever it answers."""
    return loaded_by(
        f"""import sys
sys.argv = ["kinety", *{arguments!r}]
from kinety.cli.main import main
try:
    main()
except SystemExit:
    pass"""
    )


def test_command_line_loads_only_click_before_it_knows_the_verb() -> None:
    assert loaded_by_command("--help") & LIBRARIES <= {"click"}


def test_offline_verbs_do_not_load_the_node() -> None:
    policy = "examples/star-wars/policy.yaml"
    assert (
        loaded_by_command("policy", "check", policy) & {"aiohttp", "asyncio", "pyroute2", "sqlite3"} == set()
    )
