"""``kinety identity``: numbers and the labels they stand for."""

import click

from kinety.api.client import Client
from kinety.cli.online import online
from kinety.cli.output import output_option, print_list, short_labels


@click.group()
def identity() -> None:
    """Show identities and their labels."""


@identity.command("list")
@output_option
@online
def list_(client: Client, output: str) -> None:
    """List identities: number, class, endpoints of this node, labels."""
    print_list(
        output,
        client.identities(),
        {
            "IDENTITY": lambda i: i.identity,
            "CLASS": lambda i: i.class_id,
            "ENDPOINTS": lambda i: i.endpoints,
            "LABELS": lambda i: short_labels(i.labels),
        },
    )
