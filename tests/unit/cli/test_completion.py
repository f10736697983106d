"""Completion as bash does it: the script is sourced, and its function asked for words."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.served_node import POLICIES

KINETY = [sys.executable, "-m", "kinety.cli.main"]
ASK = """
PATH="$1:$PATH"; shift
eval "$(kinety completion bash)"
compopt() { echo compopt "$@"; }
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
"$(complete -p kinety | sed 's/.*-F \\([^ ]*\\).*/\\1/')" kinety
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def complete(tmp_path: Path) -> "Completion":
    return Completion(tmp_path)


class Completion:
    """A shell in which ``kinety`` is a command."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        command = directory / "kinety"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m kinety.cli.main "$@"\n')
        command.chmod(0o755)
        bash = shutil.which("bash")
        assert bash is not None
        self._bash = bash

    def __call__(self, *words: str) -> list[str]:
        """What bash offers for the last word."""
        command = [self._bash, "--norc", "-c", ASK, "bash", str(self._directory), "kinety", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("en",), ["endpoint"]),
        (("endpoint", ""), ["attach", "audit", "detach", "get", "list"]),
        (("endpoint", "attach", "--namespace-"), ["--namespace-label"]),
        (("policy", "list", "-o", ""), ["table", "json", "yaml"]),
        (("monitor", "--kind", "new"), ["new-flow"]),
    ],
)
def test_verbs_options_and_choices(complete: Completion, words: tuple[str, ...], offered: list[str]) -> None:
    assert complete(*words) == offered


@pytest.mark.parametrize("words", [("policy", "apply", ""), ("test", "sc"), ("--socket", "")])
def test_files_are_left_to_the_shell(complete: Completion, words: tuple[str, ...]) -> None:
    assert complete(*words)[0] == "compopt -o default"


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("endpoint", "get", ""), ["deathstar"]),
        (("endpoint", "detach", "death"), ["deathstar"]),
        (("endpoint", "get", "x"), [""]),
        (("monitor", "--endpoint", ""), ["deathstar"]),
        (("map", "dump", "e"), ["endpoints"]),
        (("policy", "get", "e"), ["everywhere"]),
        (("policy", "delete", "everywhere", "e"), [""]),
    ],
)
def test_what_the_agent_knows(
    complete: Completion, socket_path: Path, words: tuple[str, ...], offered: list[str]
) -> None:
    assert complete("--socket", str(socket_path), *words) == offered


def test_an_agent_that_is_not_there_is_no_noise(complete: Completion) -> None:
    assert complete("--socket", "/no/such", "endpoint", "get", "") == [""]


def test_policies_that_share_a_name_are_told_apart(complete: Completion, socket_path: Path) -> None:
    offered = complete("--socket", str(socket_path), "policy", "get", "")
    assert offered == ["CiliumNetworkPolicy/prod/rule1", "NetworkPolicy/prod/rule1", "everywhere", "rule1"]
    assert len(offered) == len(POLICIES)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(shell: str) -> None:
    done = subprocess.run([*KINETY, "completion", shell], capture_output=True, text=True, check=True)
    assert f"_KINETY_COMPLETE={shell}_complete" in done.stdout


def test_another_shell_is_refused() -> None:
    done = subprocess.run([*KINETY, "completion", "csh"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
