import json
from collections.abc import Callable

import yaml
from click.testing import Result

from tests.served_node import ValueNode

Run = Callable[..., Result]


def test_list_says_what_a_map_costs(run: Run) -> None:
    row = run("map", "list").stdout.splitlines()[1]
    assert row.split() == ["endpoints", "7", "array", "4096", "388.0", "KiB"]


def test_rows_with_different_fields_share_a_table(run: Run, node: ValueNode) -> None:
    node.rows = ({"slot": 1, "flags": ["ready"]}, {"slot": 22, "address": "fd00::1"})
    assert run("map", "dump", "endpoints").stdout.splitlines() == [
        "SLOT  FLAGS      ADDRESS",
        '   1  ["ready"]  -',
        "  22  -          fd00::1",
    ]


def test_an_empty_map_is_said_to_be_empty(run: Run, node: ValueNode) -> None:
    node.rows = ()
    done = run("map", "dump", "endpoints")
    assert (done.stdout, done.stderr, done.exit_code) == ("", "map endpoints is empty\n", 0)
    assert json.loads(run("map", "dump", "endpoints", "-o", "json").stdout) == []


def test_the_limit_goes_to_the_agent(run: Run) -> None:
    assert json.loads(run("map", "dump", "endpoints", "--limit", "3", "-o", "json").stdout) == [{"limit": 3}]
    assert yaml.safe_load(run("map", "dump", "endpoints", "-o", "yaml").stdout) == [{"limit": None}]
