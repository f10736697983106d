"""``kinety address``: which endpoint has which address."""

import math
import time

import click

from kinety.api.client import Client
from kinety.cli.online import online
from kinety.cli.output import output_option, print_list


@click.group()
def address() -> None:
    """Show which endpoint has which address."""


@address.command("list")
@output_option
@online
def list_(client: Client, output: str) -> None:
    """List addresses that endpoints have, and those in quarantine, which nobody gets yet.

    ENDPOINT is who has the address or had it last, and FOR until when others wait for it.
    """
    print_list(
        output,
        client.addresses(),
        {
            "ADDRESS": lambda a: a.address,
            "STATE": lambda a: a.state,
            "FOR": lambda a: None if a.quarantine_seconds is None else f"{math.ceil(a.quarantine_seconds)} s",
            "ENDPOINT": lambda a: a.endpoint,
            "SINCE": lambda a: time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(a.since)),
            "POOL": lambda a: a.pool,
        },
    )
