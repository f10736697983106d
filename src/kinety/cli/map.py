"""``kinety map``: what the kernel holds."""

import click

from kinety.api.client import Client
from kinety.api.decode import encode
from kinety.cli.online import online
from kinety.cli.output import amount, output_option, print_list, print_value, table
from kinety.cli.suggestion import map_names


@click.group("map")
def map_() -> None:
    """Look into the maps of the datapath."""


@map_.command("list")
@output_option
@online
def list_(client: Client, output: str) -> None:
    """List maps with their sizes."""
    print_list(
        output,
        client.maps(),
        {
            "NAME": lambda m: m.name,
            "ID": lambda m: m.id,
            "TYPE": lambda m: m.type,
            "MAX ENTRIES": lambda m: m.max_entries,
            "MEMORY": lambda m: amount(m.memory),
        },
    )


@map_.command()
@click.argument("name", shell_complete=map_names)
@click.option("--limit", type=click.IntRange(min=1), help="At most this many rows.")
@output_option
@online
def dump(client: Client, name: str, limit: int | None, output: str) -> None:
    """Print the rows of a map, decoded."""
    rows = encode(client.map_rows(name, limit).rows)
    if output != "table":
        print_value(output, rows)
        return
    headers = list(dict.fromkeys(key for row in rows for key in row))
    if not headers:
        click.echo(f"map {name} is empty", err=True)
        return
    click.echo(table([h.upper() for h in headers], [[row.get(key) for key in headers] for row in rows]))
