"""``kinety fqdn``: what DNS said, as far as rules ask for names."""

import math

import click

from kinety.api import naming
from kinety.api.client import Client
from kinety.api.decode import encode
from kinety.cli.online import online
from kinety.cli.output import counted, output_option, print_list, print_value


@click.group()
def fqdn() -> None:
    """Show what DNS said of names that rules ask for."""


@fqdn.command()
@click.option("--match", metavar="PATTERN", help="Only names of this pattern, written as in matchPattern.")
@output_option
@online
def cache(client: Client, match: str | None, output: str) -> None:
    """List addresses by name, for how long they are known, and which patterns of rules the name is of.

    One that has expired is "held" while somebody talks to the address.
    """
    found = client.names(match)
    if output != "table":
        print_value(output, encode(found))
        return
    print_list(
        output,
        found.mappings,
        {
            "NAME": lambda m: m.name,
            "ADDRESS": lambda m: m.address,
            "FOR": lambda m: "held" if m.held else f"{math.ceil(m.seconds_left)} s",
            "PATTERNS": lambda m: ", ".join(m.patterns),
            "IDENTITY": lambda m: m.identity,
        },
    )
    for problem in _problems(found):
        click.echo(problem)


@fqdn.command()
@click.argument("name")
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS...")
@click.option("--ttl", type=click.IntRange(min=0), default=300, show_default=True, help="Seconds it is so.")
@online
def learn(client: Client, name: str, addresses: tuple[str, ...], ttl: int) -> None:
    """Say what DNS would say of a NAME. When this returns, rules know the addresses."""
    client.learn_name(name, naming.NameAnswer(addresses, ttl))


@fqdn.command()
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Forget all names.")
@online
def clean(client: Client, name: str | None, everything: bool) -> None:
    """Forget the addresses of a NAME; who talks to them is judged without it from the next packet on."""
    if (name is None) != everything:
        raise click.UsageError("give a NAME, or --all")
    forgotten = client.forget_names(name)
    click.echo(f"forgot {counted(forgotten.mappings, 'mapping')}")


def _problems(found: naming.Names) -> list[str]:
    """What is known of what is not known."""
    problems = []
    if found.evicted:
        problems.append(
            f"{found.evicted} went before their time: a name has at most {found.addresses_at_most}"
            " (--fqdn-max-addresses)"
        )
    if found.refused:
        problems.append(f"{found.refused} answers were not learnt; the agent's log says why")
    if found.crowded:
        problems.append(
            f"{found.crowded} answers were not learnt: a client may bring as many of the"
            f" {found.mappings_at_most} mappings as are free (--map-size ipcache_hosts); the agent's log says"
            " who"
        )
    return problems
