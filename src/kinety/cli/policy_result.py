"""What an apply, a delete or a promotion did."""

import click

from kinety.api.decode import encode
from kinety.api.types import PolicyResult
from kinety.cli.insight import change_table
from kinety.cli.output import counted, print_value


def print_result(result: PolicyResult, output: str) -> None:
    """Print it: a line for each policy and one for all, or as it is."""
    if output != "table":
        print_value(output, encode(result))
        return
    for item in result.policies:
        name = "/".join(filter(None, (item.kind, item.namespace, item.name)))
        rules = "" if item.rules is None else f", {counted(item.rules, 'rule')}"
        mode = "" if item.mode == "enforced" else f" ({item.mode})"
        click.echo(f"{name} {item.outcome}{mode}{' (dry run)' if result.dry_run else ''}{rules}")
    for warning in result.warnings:
        click.echo(f"warning: {warning}", err=True)
    if result.dry_run:
        click.echo(change_table(result.changes) if result.changes else "no verdict would change")
    else:
        click.echo(
            f"in force on {counted(result.endpoints, 'endpoint')} after {result.seconds * 1000:.1f} ms"
        )
