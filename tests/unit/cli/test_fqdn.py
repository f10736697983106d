import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from click.testing import Result

from kinety.api import naming
from tests import served_node
from tests.served_node import ValueNode

Run = Callable[..., Result]


def test_the_cache_as_a_table(run: Run, node: ValueNode) -> None:
    lines = run("fqdn", "cache", "--match", "*.example.com").stdout.splitlines()
    head, fresh, held, evicted, refused, crowded = lines
    assert head.split() == ["NAME", "ADDRESS", "FOR", "PATTERNS", "IDENTITY"]
    assert fresh.split() == [*("a.example.com", "192.0.2.7", "13", "s", "*.example.com,", "a.*", "16777217")]
    assert held.split() == ["b.example.com", "2001:db8::7", "held", "-", "10"]
    assert (evicted[:2], refused[:2], crowded[:2]) == ("4 ", "5 ", "6 ")
    assert "--map-size ipcache_hosts" in crowded
    assert node.asked == ["*.example.com"]


def test_programs_get_counts_too(run: Run, node: ValueNode) -> None:
    value = json.loads(run("fqdn", "cache", "-o", "json").stdout)
    assert (value["known"], value["mappings"][1]["held"], node.asked) == (3, True, [None])


def test_nothing_is_said_of_what_did_not_happen(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_node, "NAMES", replace(served_node.NAMES, evicted=0, refused=0, crowded=0))
    assert len(run("fqdn", "cache").stdout.splitlines()) == 3


def test_learn_and_clean(run: Run, node: ValueNode) -> None:
    assert run("fqdn", "learn", "a.com", "192.0.2.7", "2001:db8::7", "--ttl", "9").exit_code == 0
    assert run("fqdn", "clean", "a.com").stdout == "forgot 1 mapping\n"
    assert run("fqdn", "clean", "--all").stdout == "forgot 3 mappings\n"
    assert node.asked == [("a.com", naming.NameAnswer(("192.0.2.7", "2001:db8::7"), 9)), "a.com", "all"]


@pytest.mark.parametrize("words", [(), ("a.com", "--all")])
def test_a_name_or_all_of_them(run: Run, node: ValueNode, words: tuple[str, ...]) -> None:
    result = run("fqdn", "clean", *words)
    assert (result.exit_code, "give a NAME, or --all" in result.stderr, node.asked) == (2, True, [])
