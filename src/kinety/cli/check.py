"""``kinety policy check``: what is wrong with policy files, without an agent."""

from collections.abc import Iterable

import click

from kinety.api.types import Document as ApiDocument
from kinety.cli.complaint import complain
from kinety.cli.output import print_value, table
from kinety.model.rule import Policy
from kinety.policy.document import Document
from kinety.policy.error import PolicyError
from kinety.policy.gate import refuse_unenforced
from kinety.policy.parse import parse_policies


def print_check(documents: Iterable[ApiDocument], output: str) -> bool:
    """Print the policies in files, or every finding on a line of its own to stderr. Whether all is well."""
    try:
        policies = parse_policies([Document(document.file, document.text) for document in documents])
        refuse_unenforced(policies)
    except PolicyError as error:
        for line in error.lines():
            complain(line)
        return False
    if output != "table":
        print_value(output, [_value(policy) for policy in policies])
    else:
        rows = [
            (policy.key.kind, policy.key.namespace, policy.key.name, len(policy.rules)) for policy in policies
        ]
        click.echo(table(["KIND", "NAMESPACE", "NAME", "RULES"], rows))
    return True


def _value(policy: Policy) -> dict[str, object]:
    rules = [
        {
            "file": rule.origin.file,
            "line": rule.origin.line,
            "path": rule.origin.path,
            "direction": rule.direction.name.lower(),
            "action": rule.action.value,
        }
        for rule in policy.rules
    ]
    key = policy.key
    return {"kind": key.kind, "namespace": key.namespace, "name": key.name, "rules": rules}
