import json
from collections.abc import Callable

from click.testing import Result

from tests.served_node import ValueNode


def test_audit_is_for_the_whole_namespace(run: Callable[..., Result], node: ValueNode) -> None:
    said = run("namespace", "audit", "prod", "on").stdout
    assert said.startswith("namespace prod is in audit")
    value = json.loads(run("namespace", "audit", "prod", "off", "-o", "json").stdout)
    assert value == {"namespace": "prod", "name": None, "audit": False, "endpoints": 2}
    assert node.asked == [("prod", True), ("prod", False)]


def test_on_and_off_are_all_there_is(run: Callable[..., Result], node: ValueNode) -> None:
    assert run("namespace", "audit", "prod", "maybe").exit_code == 2
    assert node.asked == []
