"""``kinety policy``: apply, check, show and explain policies."""

from typing import TYPE_CHECKING

import click

from kinety.api.decode import encode
from kinety.cli.documents import read_documents
from kinety.cli.exit_code import OK, REFUSED
from kinety.cli.insight import diff, explain, file_option, lint, verdicts
from kinety.cli.online import online
from kinety.cli.output import output_option, print_list, print_value
from kinety.cli.policy_name import find_policy
from kinety.cli.policy_result import print_result
from kinety.cli.shadow import shadow
from kinety.cli.suggestion import policy_names

if TYPE_CHECKING:
    from kinety.api.client import Client

_FILES = "FILE|DIRECTORY|-..."


files_argument = click.argument("files", nargs=-1, required=True, type=click.Path(), metavar=_FILES)


@click.group()
def policy() -> None:
    """Apply, check, show and explain policies."""


@policy.command()
@files_argument
@click.option("--dry-run", is_flag=True, help="Let the agent check it and say what would change.")
@output_option
@online
def apply(client: "Client", files: tuple[str, ...], dry_run: bool, output: str) -> None:
    """Apply policies, all or nothing; returns when they are in force on every endpoint."""
    print_result(client.apply(read_documents(files), dry_run=dry_run), output)


@policy.command("list")
@output_option
@online
def list_(client: "Client", output: str) -> None:
    """List policies: those in force, and those that are staged or in audit."""
    print_list(
        output,
        client.policies(),
        {
            "KIND": lambda p: p.kind,
            "NAMESPACE": lambda p: p.namespace,
            "NAME": lambda p: p.name,
            "MODE": lambda p: p.mode,
            "RULES": lambda p: "-" if p.rules is None else p.rules,
            "FILE": lambda p: f"{p.file}:{p.line}",
        },
    )


@policy.command()
@click.argument("name", metavar="[[KIND/]NAMESPACE/]NAME", shell_complete=policy_names)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "table", "json", "yaml"]),
    default="text",
    help="The text as it was given; or with what the agent knows about it.",
)
@online
def get(client: "Client", name: str, output: str) -> None:
    """Show a policy in force as it was written."""
    found = find_policy(client.policies(), name)
    value = client.policy(found.kind, found.namespace, found.name)
    if output in ("text", "table"):
        click.echo(value.text.rstrip("\n"))
    else:
        print_value(output, encode(value))


@policy.command()
@click.argument(
    "names", nargs=-1, required=True, metavar="[[KIND/]NAMESPACE/]NAME...", shell_complete=policy_names
)
@output_option
@online
def delete(client: "Client", names: tuple[str, ...], output: str) -> None:
    """Remove policies; returns when that is in force on every endpoint."""
    policies = client.policies()
    for found in [find_policy(policies, name) for name in names]:
        print_result(client.delete_policy(found.kind, found.namespace, found.name), output)


@policy.command()
@click.argument("names", nargs=-1, required=True, type=click.Path(), metavar=_FILES)
@file_option
@output_option
def check(names: tuple[str, ...], files: tuple[str, ...], output: str) -> int:
    """Check policies without an agent: every finding with file, line and path.

    Invariants among them are proved for the endpoints of scenarios given with --file, whose policies hold
    as well; of one that does not hold, a flow that breaks it is told.
    """
    from kinety.cli.check import print_check

    return OK if print_check(read_documents(names), output, files) else REFUSED


policy.add_command(shadow)
policy.add_command(explain)
policy.add_command(diff)
policy.add_command(lint)
policy.add_command(verdicts)
