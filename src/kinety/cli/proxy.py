"""``kinety proxy``: what looks into flows, and what it made of them."""

from typing import TYPE_CHECKING

import click

from kinety.cli.online import online
from kinety.cli.output import output_option, print_list, print_value

if TYPE_CHECKING:
    from kinety.api.client import Client
    from kinety.api.proxy import Proxies


@click.group()
def proxy() -> None:
    """Show the proxies that rules about content are carried out by."""


@proxy.command()
@output_option
@online
def status(client: "Client", output: str) -> None:
    """Show the proxies, and every set of rules about content with what came of it.

    A listener is such a set, whoever's it is: ENDPOINTS is how many have a rule set that sends flows to it.
    """
    _print(output, client.proxies())


def _print(output: str, found: "Proxies") -> None:
    if output != "table":
        from kinety.api.decode import encode

        print_value(output, encode(found))
        return
    remark = f" ({found.redirect_remark})" if found.redirect_remark else ""
    click.echo(f"redirect  {found.redirect}{remark}\n")
    print_list(
        output,
        found.proxies,
        {
            "PROXY": lambda p: p.name,
            "STATE": lambda p: p.problem or "running",
            "PID": lambda p: p.pid,
            "STARTS": lambda p: p.starts,
            "VERSION": lambda p: p.version,
        },
    )
    click.echo()
    print_list(
        output,
        found.listeners,
        {
            "PORT": lambda each: each.port,
            "KIND": lambda each: each.kind,
            "ENDPOINTS": lambda each: "leaving" if each.leaving else each.endpoints,
            "FLOWS": lambda each: each.flows,
            "REQUESTS": lambda each: each.requests,
            "DENIED": lambda each: each.denied,
            "P50": lambda each: _milliseconds(each.p50_milliseconds),
            "P99": lambda each: _milliseconds(each.p99_milliseconds),
            "POLICIES": lambda each: ", ".join(each.policies),
            "RULES": lambda each: ", ".join(each.rules),
        },
    )


def _milliseconds(value: float | None) -> str | None:
    """Envoy counts whole ones."""
    if value is None:
        return None
    return f"{value:.1f} ms" if value else "<1 ms"
