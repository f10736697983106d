"""The wheel is all a node needs: no compiler, no sources, no development packages.

Packages it depends on are copied from this environment, those alone that its own metadata asks for; so
a dependency that is not declared is missing here, too, and no registry is asked.
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.feature import ROOT

LIVE = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "ipv6", "objects")
#: What a node must have beside Python; see docs/guide/install.md.
TOOLS = ("nft", "nsenter")


def run(*command: str | Path, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def build(place: Path, *, objects: bool) -> "subprocess.CompletedProcess[str]":
    """Build a wheel into ``place`` from a copy of the sources, so that the checkout stays as it is."""
    sources = place / "sources"
    shutil.copytree(ROOT / "src", sources / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copy(ROOT / name, sources)
    if not objects:
        shutil.rmtree(sources / "src/kinety/bpf")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    return run(*pip, "--wheel-dir", place, sources, cwd=place, **os.environ)


def dependencies(requirements: list[str]) -> Iterator[importlib.metadata.Distribution]:
    """Installed distributions that the requirements name, and what those need, extras left out."""
    seen: set[str] = set()
    waiting = list(requirements)
    while waiting:
        requirement = Requirement(waiting.pop())
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        found = importlib.metadata.distribution(name)
        assert requirement.specifier.contains(found.version), f"{requirement}: {found.version} is installed"
        waiting += found.requires or []
        yield found


@dataclass(frozen=True, slots=True)
class Installed:
    """A virtual environment with the wheel, and an empty directory to work in."""

    environment: Path
    wheel: Path
    place: Path

    def kinety(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run the installed command with a path that holds `TOOLS` and nothing else."""
        command = self.environment / "bin/kinety"
        return run(command, *words, cwd=self.place, PATH=str(self.place / "bin"), TMPDIR=str(self.place))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    place = tmp_path_factory.mktemp("wheel")
    built = build(place, objects=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = place.glob("*.whl")
    environment = place / "environment"
    venv.create(environment, symlinks=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    pip = [sys.executable, "-m", "pip", "--python", environment, "install", "--quiet", "--no-deps"]
    done = run(*pip, "--no-index", wheel, cwd=place, **os.environ)
    assert done.returncode == 0, done.stderr
    (own,) = importlib.metadata.distributions(name="kinety", path=[str(packages)])
    for each in dependencies(own.requires or []):
        for file in each.files or []:
            if ".." not in file.parts and file.suffix != ".pyc":
                target = packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), target)
    work = place / "elsewhere"
    shutil.copytree(ROOT / "examples", work / "examples")
    (work / "bin").mkdir()
    for tool in TOOLS:
        if found := shutil.which(tool):
            (work / "bin" / tool).symlink_to(found)
    return Installed(environment, wheel, work)


def test_wheel_holds_the_objects_and_no_sources_or_tests(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    assert {"kinety/bpf/endpoint.o", "kinety/bpf/kinety_hook.h", "kinety/py.typed"} <= set(names)
    assert not [name for name in names if name.endswith(".c") or name.startswith("tests")]
    assert [name for name in names if name.endswith(".h")] == ["kinety/bpf/kinety_hook.h"], "for operators"


def test_environment_has_no_development_packages(installed: Installed) -> None:
    python = installed.environment / "bin/python"
    for name in ("scapy", "pytest", "tabulate", "hypothesis", "setuptools"):
        assert run(python, "-c", f"import {name}", cwd=installed.place).returncode != 0, name
    assert str(ROOT) not in run(python, "-c", "import sys; print(sys.path)", cwd=installed.place).stdout


def test_version_and_policy_check(installed: Installed) -> None:
    done = installed.kinety("--version")
    assert re.fullmatch(r"kinety \d+\.\d+\.\d+\n", done.stdout), done.stderr
    assert installed.kinety("policy", "check", "examples/star-wars/policy.yaml").returncode == 0
    done = installed.kinety("policy", "check", "examples/star-wars/policy-as-printed.yaml")
    assert done.returncode == 1
    assert "policy-as-printed.yaml:16: spec.toPorts: " in done.stderr


@LIVE
def test_real_packets_without_a_compiler(installed: Installed) -> None:
    done = installed.kinety("test", "--live", "examples/star-wars/scenario.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert re.search(r"^ok +xwing +deathstar +TCP/80 +deny +deny ", done.stdout, re.M)
    assert not list(installed.place.glob("kinety-*"))


@LIVE
def test_missing_objects_are_one_clear_error(installed: Installed) -> None:
    (compiled,) = installed.environment.glob("lib/python*/site-packages/kinety/bpf/endpoint.o")
    hidden = compiled.rename(compiled.with_suffix(".hidden"))
    try:
        done = installed.kinety("test", "--live", "examples/star-wars/scenario.yaml")
    finally:
        hidden.rename(compiled)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("kinety: the agent did not start: ")
    assert "the BPF objects are not built: run `make bpf`" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(installed.place.glob("kinety-*"))


def test_no_wheel_without_objects(tmp_path: Path) -> None:
    done = build(tmp_path, objects=False)
    assert done.returncode != 0
    assert "the BPF objects are not built: run `make bpf` first" in done.stderr
    assert not list(tmp_path.glob("*.whl"))
