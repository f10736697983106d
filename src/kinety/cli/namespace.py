"""``kinety namespace``: what holds for all endpoints of a namespace."""

import click

from kinety.api.client import Client
from kinety.cli.audit import print_audit, switch_argument
from kinety.cli.online import online
from kinety.cli.output import output_option


@click.group()
def namespace() -> None:
    """What holds for all endpoints of a namespace."""


@namespace.command()
@click.argument("name")
@switch_argument
@output_option
@online
def audit(client: Client, name: str, switch: str, output: str) -> None:
    """Let all endpoints of a namespace do everything and only report it; or obey their policies again.

    Endpoints to come are included.
    """
    print_audit(client.audit(name, None, switch == "on"), output)
