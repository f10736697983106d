"""``kinety endpoint``: attach network namespaces and look at them."""

import os
from dataclasses import replace
from typing import Unpack

import click

from kinety.api.client import Client
from kinety.api.types import Bandwidth, DirectionState
from kinety.cli.audit import print_audit, switch_argument
from kinety.cli.endpoint_options import Options, endpoint_options, endpoint_request
from kinety.cli.online import online, split_name
from kinety.cli.output import output_option, print_fields, print_list, short_labels, wide_output_option
from kinety.cli.suggestion import endpoint_names, network_namespaces

_FIELDS = {
    "Name": lambda e: f"{e.namespace}/{e.name}",
    "Id": lambda e: e.id,
    "State": lambda e: e.state,
    "Identity": lambda e: e.identity,
    "Labels": lambda e: ", ".join(e.labels),
    "IPv4": lambda e: e.ipv4,
    "IPv6": lambda e: e.ipv6,
    "Egress": lambda e: _direction(e.egress, rule_set=True),
    "Ingress": lambda e: _direction(e.ingress, rule_set=True),
    "Namespace": lambda e: e.netns,
    "Interface": lambda e: f"{e.interface}, on the node {e.host_interface} (index {e.host_index})",
    "MTU": lambda e: e.mtu,
    "Ports": lambda e: ", ".join(e.port_names) or "-",
    "Published": lambda e: ", ".join(e.host_ports) or "-",
    "Bandwidth": lambda e: _bandwidth(e.bandwidth) + (f", {e.rate_exceeded} dropped" if e.bandwidth else ""),
    "Container": lambda e: f"{e.attachment.container}, by {e.attachment.network}" if e.attachment else "-",
    "Audit": lambda e: e.audit,
}

_COLUMNS = {
    "NAMESPACE": lambda e: e.namespace,
    "NAME": lambda e: e.name,
    "IDENTITY": lambda e: e.identity,
    "IPV4": lambda e: e.ipv4,
    "IPV6": lambda e: e.ipv6,
    "EGRESS": lambda e: _direction(e.egress, audit=e.audit),
    "INGRESS": lambda e: _direction(e.ingress, audit=e.audit),
    "STATE": lambda e: e.state,
    "LABELS": lambda e: short_labels(e.labels),
}
_MORE_COLUMNS = {
    "HOST PORTS": lambda e: ",".join(e.host_ports),
    "BANDWIDTH": lambda e: _bandwidth(e.bandwidth),
}


@click.group()
def endpoint() -> None:
    """Attach network namespaces and look at them."""


@endpoint.command("list")
@click.option("--namespace", metavar="NAME", help="Only endpoints of this namespace.")
@wide_output_option
@online
def list_(client: Client, namespace: str | None, output: str) -> None:
    """List endpoints."""
    values = [item for item in client.endpoints() if namespace in (None, item.namespace)]
    if output == "wide":
        print_list("table", values, _COLUMNS | _MORE_COLUMNS)
    else:
        print_list(output, values, _COLUMNS)


@endpoint.command()
@click.argument("name", metavar="[NAMESPACE/]NAME", shell_complete=endpoint_names)
@click.option("--namespace", metavar="NAME", help="The endpoint's namespace.  [default: default]")
@output_option
@online
def get(client: Client, name: str, namespace: str | None, output: str) -> None:
    """Show one endpoint."""
    print_fields(output, client.endpoint(*split_name(name, namespace)), _FIELDS)


@endpoint.command()
@click.option(
    "--netns",
    metavar="PATH",
    help="The network namespace: a path, or a name in /run/netns.",
    shell_complete=network_namespaces,
)
@click.option("--pid", type=click.IntRange(min=1), help="A process in the network namespace.")
@click.option("--name", required=True, metavar="[NAMESPACE/]NAME", help="What to call the endpoint.")
@endpoint_options
@output_option
@online
def attach(
    client: Client, name: str, netns: str | None, pid: int | None, output: str, **options: Unpack[Options]
) -> None:
    """Give a network namespace its interface; returns when its policy is in force."""
    if (netns is None) == (pid is None):
        raise click.UsageError("give either --netns or --pid")
    if netns is not None:
        netns = os.path.abspath(netns) if "/" in netns else f"/run/netns/{netns}"
    request = replace(endpoint_request(name, **options), netns=netns, pid=pid)
    print_fields(output, client.attach(request), _FIELDS)


@endpoint.command()
@click.argument("name", metavar="[NAMESPACE/]NAME", shell_complete=endpoint_names)
@click.option("--namespace", metavar="NAME", help="The endpoint's namespace.  [default: default]")
@online
def detach(client: Client, name: str, namespace: str | None) -> None:
    """Take an endpoint's interface away."""
    client.detach(*split_name(name, namespace))


@endpoint.command()
@click.argument("name", metavar="[NAMESPACE/]NAME", shell_complete=endpoint_names)
@switch_argument
@click.option("--namespace", metavar="NAME", help="The endpoint's namespace.  [default: default]")
@output_option
@online
def audit(client: Client, name: str, switch: str, namespace: str | None, output: str) -> None:
    """Let an endpoint do everything and only report what its policies forbid; or obey them again."""
    print_audit(client.audit(*split_name(name, namespace), switch == "on"), output)


def _direction(state: DirectionState, *, rule_set: bool = False, audit: bool = False) -> str:
    if not state.enforced:
        said = "audit" if audit and state.shadow else "open"
    else:
        said = f"enforced (rule set {state.rule_set})" if rule_set else "enforced"
    return f"{said}, beside it {state.shadow}" if rule_set and state.shadow else said


def _bandwidth(bandwidth: Bandwidth | None) -> str:
    if bandwidth is None:
        return "-"
    from kinety.model.quantity import format_quantity

    rates = {"egress": bandwidth.egress_rate, "ingress": bandwidth.ingress_rate}
    return ",".join(f"{way}={format_quantity(rate)}bit/s" for way, rate in rates.items() if rate)
