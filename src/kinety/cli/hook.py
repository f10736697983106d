"""``kinety datapath hook``: filters of the operator behind the verdict of policy."""

import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kinety.cli.object_file import encoded_object
from kinety.cli.online import online
from kinety.cli.output import output_option, print_list
from kinety.cli.suggestion import hook_names
from kinety.cli.verifier_log import verifier_log, verifier_log_option

if TYPE_CHECKING:
    from kinety.api.client import Client
    from kinety.api.hook import Hook

#: What is compiled in C, by convention.
_SUFFIXES = (".bpf.o", ".o")


@click.group()
def hook() -> None:
    """Filters of your own, asked about every packet that policy allows; they may only drop."""


@hook.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="What to call it.  [default: the file's name without .o or .bpf.o]")
@verifier_log_option
@output_option
@online
def load(client: "Client", file: Path, name: str | None, log: Path | None, output: str) -> None:
    """Load filters from an object, and ask them from the next packet on.

    Filters that have the name already are replaced at once. See `kinety datapath hook header`.
    """
    from kinety.api.hook import HookObject

    with file.open("rb") as elf:
        body = HookObject(str(file), encoded_object(elf))
    with verifier_log(log):
        _print(output, [client.load_hook(name or _stem(file), body)])


@hook.command("list")
@output_option
@online
def list_(client: "Client", output: str) -> None:
    """List filters in the order in which they are asked, with what they dropped."""
    _print(output, list(client.hooks()))


@hook.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=hook_names)
@online
def unload(client: "Client", names: tuple[str, ...]) -> None:
    """Ask filters no more, from the next packet on."""
    for name in names:
        client.unload_hook(name)


@hook.command()
def header() -> None:
    """Print the header that filters are compiled with: kinety_hook.h."""
    path = importlib.resources.files("kinety") / "bpf" / "kinety_hook.h"
    click.echo(path.read_text(), nl=False)


def _stem(file: Path) -> str:
    for suffix in _SUFFIXES:
        if file.name.endswith(suffix):
            return file.name.removesuffix(suffix).replace("_", "-")
    return file.name


def _print(output: str, hooks: "list[Hook]") -> None:
    if output != "table":
        print_list(output, hooks, {})
        return
    rows = [(each, filter_) for each in hooks for filter_ in each.filters]
    print_list(
        output,
        rows,
        {
            "NAME": lambda row: row[0].name,
            "SLOT": lambda row: row[0].slot,
            "DIRECTION": lambda row: row[1].direction,
            "PROGRAM": lambda row: row[1].program,
            "ID": lambda row: row[1].id,
            "VERIFIED": lambda row: row[1].verified_instructions,
            "MACHINE CODE": lambda row: row[1].jited_bytes,
            "DROPPED": lambda row: row[1].dropped_packets,
            "MAPS": lambda row: ", ".join(f"{row[0].pins}/{name}" for name in row[0].maps),
        },
    )
