"""``kinety policy check``: what is wrong with policy files, without an agent."""

from collections.abc import Iterable, Sequence

import click

from kinety.api.types import Document as ApiDocument
from kinety.cli.complaint import complain
from kinety.cli.output import print_value, table
from kinety.model.rule import Policy, PolicyKey
from kinety.policy.document import Document
from kinety.policy.error import PolicyError
from kinety.policy.gate import refuse_unenforced
from kinety.policy.parse import Object, Objects, parse_objects


def print_check(documents: Iterable[ApiDocument], output: str, beside: Sequence[str] = ()) -> bool:
    """Print the objects in files, or every finding on a line of its own to stderr. Whether all is well.

    Invariants are proved for the endpoints of the scenarios among ``beside``, whose policies hold as well.
    """
    try:
        objects = parse_objects([Document(document.file, document.text) for document in documents])
        refuse_unenforced(objects.policies)
        if objects.invariants:
            _prove(objects, beside)
    except PolicyError as error:
        for line in error.lines():
            complain(line)
        return False
    if output != "table":
        print_value(output, [_value(key, each) for key, each in objects.by_key.items()])
    else:
        rows = [
            (key.kind, key.namespace, key.name, len(each.rules) if isinstance(each, Policy) else "-")
            for key, each in objects.by_key.items()
        ]
        click.echo(table(["KIND", "NAMESPACE", "NAME", "RULES"], rows))
    return True


def _prove(objects: Objects, beside: Sequence[str]) -> None:
    """Raises PolicyError for invariants that do not hold."""
    from kinety.cli.inventory import read_inventory
    from kinety.explain.proof import require

    if not beside:
        complain("the invariants are not proved: say who there is with --file SCENARIO")
        return
    inventory = read_inventory(beside).with_objects(objects)
    require(inventory.engine(), inventory.invariants)


def _value(key: PolicyKey, found: Object) -> dict[str, object]:
    """An object as JSON; only policies have rules."""
    value: dict[str, object] = {"kind": key.kind, "namespace": key.namespace, "name": key.name}
    if isinstance(found, Policy):
        value["rules"] = _rules(found)
    return value


def _rules(policy: Policy) -> list[dict[str, object]]:
    return [
        {
            "file": rule.origin.file,
            "line": rule.origin.line,
            "path": rule.origin.path,
            "direction": rule.direction.name.lower(),
            "action": rule.action.value,
        }
        for rule in policy.rules
    ]
