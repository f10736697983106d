"""Documents stay true: links lead somewhere, policies in them are what they claim, marked examples run.

In a Markdown file, ``<!-- run -->`` before a ``console`` block has its ``$`` lines run in the project's
folder, and what they print must be what the block shows; a line ``…`` stands for any lines.
On pages about a node, the blocks marked ``node`` are typed one after another in one terminal, on a machine of
the page's own; ``background`` blocks in further terminals, and what they show is compared in the end;
before a ``stopped`` block those are ended with Ctrl-C.
``<!-- refused -->`` before a ``yaml`` block says that the policy in it must be refused; any other policy
must be accepted.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kinety.agent.options import parse as parse_options
from kinety.cli.main import kinety
from kinety.policy.document import Document
from kinety.policy.error import PolicyError
from kinety.policy.parse import parse_objects
from kinety.testing.parse import parse_scenarios
from tests.feature import ROOT
from tests.house.page import Block, blocks, pages, pattern, steps
from tests.house.source import relative, tracked
from tests.house.terminal import Running, terminal

LINK = re.compile(r"\[[^\]\n]*\]\((?!https?:|mailto:|#)([^)\s#]+)(?:#[^)\s]*)?\)")
POLICY_KINDS = (
    "CiliumNetworkPolicy",
    "CiliumClusterwideNetworkPolicy",
    "NetworkPolicy",
    "ClusterNetworkPolicy",
    "Invariant",
)


def policies() -> list[Block]:
    named = re.compile(rf"^kind: (?:{'|'.join(POLICY_KINDS)})$", re.M)
    return [block for block in blocks() if block.kind == "yaml" and named.search(block.body)]


def test_links_lead_to_files() -> None:
    wrong = []
    for path in pages():
        for found in LINK.finditer(re.sub(r"^```.*?^```", "", path.read_text(), flags=re.S | re.M)):
            if not (path.parent / found[1]).exists():
                wrong.append(f"{relative(path)}: {found[1]} does not exist")
    assert not wrong, "\n".join(wrong)


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    listed = {(ROOT / "docs" / name).resolve() for name in LINK.findall(index)}
    missing = [
        relative(path)
        for path in pages()
        if path.is_relative_to(ROOT / "docs") and path.name != "README.md" and path.resolve() not in listed
    ]
    assert not missing, f"docs/README.md leaves out {', '.join(missing)}"


def test_the_readmes_tree_is_the_tree() -> None:
    section = (ROOT / "README.md").read_text().partition("## The tree")[2]
    lines = dict(re.findall(r"^(\S+)/ +(.*)$", section, re.M))
    folders = {relative(path).partition("/")[0] for path in tracked() if path.parent != ROOT}
    assert {name.partition("/")[0] for name in lines} == {name for name in folders if name[0] != "."}
    for name in ("src/kinety", "tests"):
        parts = {path.name for path in (ROOT / name).iterdir() if any(path.glob("**/*.py"))}
        said = set(re.findall(r"\w+", re.sub(r"\(.*?\)", "", lines[name])))
        assert said == parts - {"__pycache__"}, name


def test_policies_in_documents_are_what_they_claim() -> None:
    wrong = []
    for block in policies():
        try:
            refused = not parse_objects([Document(block.file, block.body)]).by_key
        except PolicyError:
            refused = True
        if refused != (block.mark == "refused"):
            wrong.append(f"{block} is {'refused' if refused else 'accepted'}")
    assert not wrong, "\n".join(wrong)


def test_scenarios_in_documents_are_accepted() -> None:
    """Policies that they name by path are not there; any policy will do for them."""
    policy = Document("policy.yaml", (ROOT / "examples/star-wars/policy.yaml").read_text())
    found = [
        block
        for block in blocks()
        if block.kind == "yaml" and re.search("^kind: Scenario$", block.body, re.M)
    ]
    assert found
    for block in found:
        assert parse_scenarios([Document(block.file, block.body)], lambda file, path: policy)


def command_lines() -> Iterator[tuple[Block, list[str]]]:
    """Every ``kinety`` command in console blocks, as words up to the end of that command."""
    for block in blocks():
        if block.kind not in ("console", "bash", "sh"):
            continue
        for line, _ in steps(block.body):
            lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
            lexer.whitespace_split = True
            words = list(lexer)
            for at, word in enumerate(words):
                if Path(word).name == "kinety" and (
                    at == 0 or words[at - 1] in ("sudo", "|", ";", "&&", "||", "do")
                ):
                    rest = itertools.takewhile(lambda word: not set(word) <= set("();<>|&"), words[at + 1 :])
                    yield block, list(rest)


def understand(words: list[str]) -> None:
    """Have the command line parse a command without running it. Raises UsageError, or SystemExit for help."""
    command: click.Command = kinety
    context = click.Context(kinety, info_name="kinety", **kinety.context_settings)
    while isinstance(command, click.Group) and words[:1] != ["--version"]:
        if not words:
            raise click.UsageError("a verb is missing")
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command, context = found, click.Context(found, parent=context, info_name=found.name)
    if command.name == "agent":
        parse_options(words)
    else:
        command.make_context(command.name, list(words), parent=context.parent)


def test_commands_in_documents_are_known_to_the_command_line() -> None:
    """Verbs, options and values exist."""
    seen = set()
    for block, words in command_lines():
        seen.add(tuple(words[:2]))
        try:
            understand(words)
        except (click.UsageError, SystemExit) as error:
            raise AssertionError(f"{block}: kinety {' '.join(words)}: {error}") from error
    assert {("endpoint", "attach"), ("policy", "check"), ("agent",)} <= seen
    for wrong in (["endpoint"], ["nonsense"], ["status", "--nonsense"]):
        with pytest.raises(click.UsageError):
            understand(wrong)


def test_marked_examples_print_what_they_show() -> None:
    for block in blocks():
        if block.mark == "run":
            assert block.kind == "console", f"{block}: only console blocks can be run"
            check(block)


NODE_MARKS = ("node", "background", "stopped")
#: What pages need besides a node.
NEEDS = {"docs/guide/containerd.md": ["runtimes"], "examples/podman/README.md": ["runtimes"]}
NODE_PAGES = [
    pytest.param(page, marks=pytest.mark.needs(*NEEDS.get(page, [])))
    for page in sorted({block.file for block in blocks() if block.mark in NODE_MARKS})
]


@pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "ipv6", "objects", "ip")
@pytest.mark.parametrize("page", NODE_PAGES)
def test_pages_about_a_node_print_what_they_show(page: str, tmp_path: Path) -> None:
    later: list[tuple[Block, Running, str]] = []
    with terminal(tmp_path) as opened:
        for block in blocks():
            if block.file != page or block.mark not in NODE_MARKS:
                continue
            if block.mark == "stopped":
                opened.stop()
            for command, shown in steps(block.body):
                if block.mark == "background":
                    later.append((block, opened.start(command), shown))
                else:
                    compare(block, command, shown, opened.run(command))
    for block, running, shown in later:
        if shown:
            compare(block, running.command, shown, running.output.read_text())


def check(block: Block) -> None:
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", COLUMNS="100")
    for command, shown in steps(block.body):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        compare(block, command, shown, done.stdout)


def compare(block: Block, command: str, shown: str, printed: str) -> None:
    printed = "\n".join(line.rstrip() for line in printed.splitlines()).strip()
    assert re.fullmatch(pattern(shown), printed), f"{block}: {command}\n{printed}"
