"""``kinety policy explain`` and ``diff``: what policies mean, from files or from the agent."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from kinety.cli.exit_code import OK, REFUSED
from kinety.cli.online import online
from kinety.cli.output import output_option, print_value, table, text

if TYPE_CHECKING:
    from kinety.api.client import Client
    from kinety.api.insight import VerdictChange

file_option = click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(),
    metavar="FILE|DIRECTORY|-",
    help="Scenarios and policies that say who there is and what holds; may be repeated.",
)


@click.command()
@click.option("--from", "source", required=True, metavar="WHO", help="The sender.")
@click.option("--to", "destination", required=True, metavar="WHO", help="The receiver.")
@click.option("--port", type=click.IntRange(0, 65535), help="The receiver's port; an ICMP type.")
@click.option(
    "--protocol", default="TCP", show_default=True, help="TCP, UDP, SCTP, ICMP, ICMPv6 or a number."
)
@click.option("--http-method", "method", metavar="METHOD", help="The method of an HTTP request in the flow.")
@click.option("--http-path", "path", metavar="PATH", help="Its path.")
@file_option
@output_option
@online
def explain(
    client: "Client",
    source: str,
    destination: str,
    port: int | None,
    protocol: str,
    method: str | None,
    path: str | None,
    files: tuple[str, ...],
    output: str,
) -> int:
    """Explain why a flow is allowed or denied, and what would allow it.

    WHO is an endpoint ([namespace/]name), labels ([namespace/]key=value,...) of one that need not exist,
    an address, host or world.

    Ends with status 1 when the flow is denied.
    """
    from kinety.api.decode import decode, encode
    from kinety.api.insight import Explanation
    from kinety.cli.explanation import explanation_lines

    if files:
        from kinety.cli.offline import explanation

        found = decode(Explanation, explanation(files, source, destination, protocol, port, (method, path)))
    else:
        found = client.explanation(source, destination, protocol, port, (method, path))
    if output == "table":
        click.echo("\n".join(explanation_lines(found)))
    else:
        print_value(output, encode(found))
    return REFUSED if found.verdict == "deny" else OK


@click.command()
@click.argument("old", type=click.Path(), metavar="OLD")
@click.argument("new", type=click.Path(), metavar="NEW")
@file_option
@output_option
def diff(old: str, new: str, files: tuple[str, ...], output: str) -> int:
    """Show every verdict that differs between two sets of policies, for all endpoints and all ports.

    OLD and NEW are files or directories of policies or scenarios. Endpoints are those of the scenarios
    among them, and of further ones given with --file, whose policies hold before and after.

    Ends with status 1 when any verdict differs.
    """
    from kinety.api.decode import decode
    from kinety.api.insight import VerdictChange
    from kinety.cli.offline import differences

    found = differences(old, new, files)
    if output == "table":
        shown = tuple(decode(VerdictChange, value) for value in found)
        click.echo(change_table(shown) if shown else "no verdict differs")
    else:
        print_value(output, found)
    return REFUSED if found else OK


@click.command()
@click.argument("files", nargs=-1, type=click.Path(), metavar="[FILE|DIRECTORY|-]...")
@output_option
@online
def lint(client: "Client", files: tuple[str, ...], output: str) -> int:
    """Find what is odd about policies: rules that never decide or could go, selectors of nobody.

    Of the policies in files, or else of those in force. Scenarios among the files say who there is;
    without any, only what holds whoever there is is found.

    Ends with status 1 when anything is found.
    """
    from kinety.api.decode import decode, encode
    from kinety.api.insight import PolicyFinding

    if files:
        from kinety.cli.offline import suspicions

        found = tuple(decode(PolicyFinding, value) for value in suspicions(files))
    else:
        found = client.findings()
    if output != "table":
        print_value(output, encode(found))
    for each in found if output == "table" else ():
        hint = f"; {each.hint}" if each.hint else ""
        click.echo(text(f"{each.file}:{each.line}: {each.path}: {each.message}{hint} [{each.check}]"))
    return REFUSED if found else OK


@click.command()
@file_option
@output_option
@online
def verdicts(client: "Client", files: tuple[str, ...], output: str) -> None:
    """Show every verdict: of every endpoint, about everybody, for all protocols and ports.

    Endpoints of which the same is true share a row, and so do peers.
    """
    from kinety.api.decode import decode, encode
    from kinety.api.insight import VerdictRow
    from kinety.cli.explanation import group_text

    if files:
        from kinety.cli.offline import verdicts as offline

        found = tuple(decode(VerdictRow, value) for value in offline(files))
    else:
        found = client.verdicts()
    if output != "table":
        print_value(output, encode(found))
        return
    rows = [
        (
            group_text(each.subjects),
            each.direction,
            group_text(each.peers),
            each.traffic.text,
            _verdict(each.verdict, each.content, each.rule),
        )
        for each in found
    ]
    click.echo(table(["ENDPOINTS", "DIRECTION", "PEERS", "TRAFFIC", "VERDICT"], rows))


def change_table(changes: Sequence["VerdictChange"]) -> str:
    """Changes of verdicts, a line each."""
    from kinety.cli.explanation import group_text

    rows = [
        (
            each.direction,
            group_text(each.subjects),
            group_text(each.peers),
            each.traffic.text,
            _verdict(each.before, each.before_content, each.before_rule),
            _verdict(each.after, each.after_content, each.after_rule),
        )
        for each in changes
    ]
    return table(["DIRECTION", "ENDPOINTS", "PEERS", "TRAFFIC", "BEFORE", "AFTER"], rows)


def _verdict(kind: str, content: str, rule: str | None) -> str:
    asked = f" ({content})" if content else ""
    return f"{kind}{asked}: {rule or 'default'}"
