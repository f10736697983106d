import json
from collections.abc import Callable

from click.testing import Result

Run = Callable[..., Result]


def test_list(run: Run) -> None:
    head, held, waiting, fixed = run("address", "list").stdout.splitlines()
    assert head.split() == ["ADDRESS", "STATE", "FOR", "ENDPOINT", "SINCE", "POOL"]
    assert held.split()[:4] == ["10.0.0.1", "in-use", "-", "default/deathstar"]
    assert waiting.split()[:5] == ["10.0.0.2", "quarantine", "12", "s", "default/xwing"]
    assert waiting.endswith("10.0.0.0/29")
    assert fixed.endswith(" -")


def test_programs_get_seconds(run: Run) -> None:
    value = json.loads(run("address", "list", "-o", "json").stdout)
    assert [each["quarantine_seconds"] for each in value] == [None, 11.2, None]
    assert value[1]["since"] == 86400.0
