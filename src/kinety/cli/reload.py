"""``kinety datapath reload``: other programs under all endpoints, while packets flow."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from kinety.api.decode import encode
from kinety.cli.object_file import encoded_object
from kinety.cli.online import online
from kinety.cli.output import counted, output_option, print_value, table
from kinety.cli.verifier_log import verifier_log, verifier_log_option

if TYPE_CHECKING:
    from kinety.api.client import Client
    from kinety.api.overview import Program
    from kinety.api.reload import ReloadResult

#: What a reload can switch on and off: a field of the request, and what it is.
_SWITCHES = {
    "ipv4": "Judge IPv4, or drop all of it.",
    "ipv6": "Judge IPv6, or drop all of it.",
    "shadow": "Judge policies that are staged or in audit.",
    "fragments": "Let fragments pass as their first one may, or drop all of them.",
    "hooks": "Ask filters of your own.",
}
_HEADERS = ("PROGRAM", "ID", "INSTRUCTIONS", "BEFORE", "VERIFIED", "BEFORE", "JITED BYTES", "BEFORE")


def _switches(command: Callable[..., Any]) -> Callable[..., Any]:
    for field, meaning in reversed(_SWITCHES.items()):
        command = click.option(f"--{field}/--no-{field}", default=None, help=meaning)(command)
    return click.option(
        "--events",
        type=click.Choice(["flows", "drops", "none"]),
        help="Tell of new flows, drops and changed verdicts; not of the first; or of nothing.",
    )(command)


@click.command()
@_switches
@click.option(
    "--object",
    "elf",
    type=click.File("rb"),
    metavar="FILE",
    help="Programs to load instead, compiled with this version's contract.",
)
@verifier_log_option
@output_option
@online
def reload(client: "Client", output: str, elf: IO[bytes] | None, log: Path | None, **switches: Any) -> None:
    """Put other programs under all endpoints, without losing a packet or a connection.

    They are loaded and verified beside those in force, and then take their place, endpoint by endpoint; when
    anything fails, all stays as it was. What is not named stays as it is. With nothing named, the packaged
    programs are loaded as they are on disk now, as after an upgrade.

    It holds until the agent starts again: its options decide then, and the packaged programs are loaded.
    """
    from kinety.api.reload import ReloadRequest

    request = ReloadRequest(
        **switches,
        object=None if elf is None else encoded_object(elf),
        file=None if elf is None else elf.name,
    )
    with verifier_log(log):
        found = client.reload(request)
    if output != "table":
        print_value(output, encode(found))
    else:
        click.echo("\n".join(_lines(found)))


def _lines(found: "ReloadResult") -> Iterator[str]:
    if found.changed:
        endpoints = counted(found.endpoints, "endpoint")
        load, move = (f"{seconds * 1000:.1f} ms" for seconds in (found.load_seconds, found.move_seconds))
        yield f"version {found.version} under {endpoints}: loaded in {load}, put in place in {move}"
        yield table(_HEADERS, [_row(*each) for each in zip(found.before, found.after, strict=True)])
    else:
        yield f"version {found.version} is in force already; nothing was loaded"
    for cut in found.cut_off:
        endpoints = counted(cut.endpoints, "endpoint")
        yield f"IPv{cut.ip_version} is dropped; addresses of it: {endpoints}"
    if found.changed:
        yield "it holds until the agent starts again: its options decide then"


def _row(before: "Program", after: "Program") -> tuple[object, ...]:
    fields = ("instructions", "verified_instructions", "jited_bytes")
    sizes = [getattr(each, field) for field in fields for each in (after, before)]
    return (after.name, after.id, *sizes)
