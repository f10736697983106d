"""Switching audit on and off: what endpoints and namespaces have in common."""

import click

from kinety.api.decode import encode
from kinety.api.shadow import AuditResult
from kinety.cli.output import counted, print_value

switch_argument = click.argument("switch", metavar="on|off", type=click.Choice(["on", "off"]))


def print_audit(result: AuditResult, output: str) -> None:
    """Print who is in audit now, or not any more."""
    if output != "table":
        print_value(output, encode(result))
        return
    who = f"namespace {result.namespace}" if result.name is None else f"{result.namespace}/{result.name}"
    said = "is in audit: its policies are only reported" if result.audit else "obeys its policies"
    click.echo(f"{who} {said}; new for {counted(result.endpoints, 'endpoint')}")
