"""``kinety datapath``: the programs in the kernel, looked at from outside, and replaced."""

import json
import subprocess
import sys
from typing import Any

import click

from kinety.cli.exit_code import OK, REFUSED
from kinety.cli.hook import hook
from kinety.cli.output import output_option, print_value, table
from kinety.cli.reload import reload

_HEADERS = (
    "CONFIGURATION",
    "PROGRAM",
    "COMPILED",
    "PRUNED",
    "VERIFIED",
    "MACHINE CODE",
    "NS IPV4",
    "NS IPV6",
    "MAPS DROPPED",
    "LINES GONE",
)


@click.group()
def datapath() -> None:
    """Look at the programs that judge packets, and put others in their place."""


datapath.add_command(reload)


@datapath.command()
@output_option
def inspect(output: str) -> int:
    """Show what is left of the programs for each way a node may be set up.

    Loads them with each configuration, beside whatever is running and over small maps of their own.
    COMPILED and PRUNED are instructions before and after the verifier removed what cannot run (it writes
    some calls out, too, which makes a program longer), VERIFIED those it walked through, MACHINE CODE
    bytes, NS nanoseconds of a packet of a known flow, or of its drop where its family is off. MAPS DROPPED
    are not made, for only code that is gone names them. LINES GONE are source lines that nothing in the
    kernel comes from any more. The node's own programs are among them, where the kernel can run them.
    """
    asked = subprocess.run(
        [sys.executable, "-m", "kinety.datapath"], stdout=subprocess.PIPE, check=False, text=True
    )
    if asked.returncode:
        return REFUSED
    inspections: list[dict[str, Any]] = json.loads(asked.stdout)
    if output != "table":
        print_value(output, inspections)
    else:
        click.echo(table(_HEADERS, [_row(each) for each in inspections]))
    return OK


datapath.add_command(hook)


def _row(found: dict[str, Any]) -> tuple[object, ...]:
    times = found["nanoseconds"] or {}
    return (
        found["configuration"],
        found["program"],
        found["compiled"],
        found["pruned"],
        found["verified"],
        found["jited_bytes"],
        times.get("4", ""),
        times.get("6", ""),
        ", ".join(found["maps_dropped"]),
        ", ".join(f"{file} {count}" for file, count in found["lines_gone"].items()),
    )
