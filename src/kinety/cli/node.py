"""``kinety node``: what holds for the node itself."""

import click

from kinety.api.client import Client
from kinety.api.decode import encode
from kinety.cli.audit import switch_argument
from kinety.cli.online import online
from kinety.cli.output import output_option, print_value


@click.group()
def node() -> None:
    """What holds for the node itself."""


@node.command()
@switch_argument
@output_option
@online
def audit(client: Client, switch: str, output: str) -> None:
    """Let the node do everything and only report it; or obey policies about nodes again."""
    result = client.audit_node(switch == "on")
    if output != "table":
        print_value(output, encode(result))
        return
    said = "is in audit: policies about nodes are only reported" if result.audit else "obeys its policies"
    click.echo(f"the node {said}{'' if result.changed else ' already'}")
