"""``kinety endpoint``: attach network namespaces and look at them."""

import os

import click

from kinety.api.client import Client
from kinety.api.types import DirectionState, EndpointRequest
from kinety.cli.audit import print_audit, switch_argument
from kinety.cli.online import online, split_name
from kinety.cli.output import output_option, print_fields, print_list, short_labels
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
    "Container": lambda e: f"{e.attachment.container}, by {e.attachment.network}" if e.attachment else "-",
    "Audit": lambda e: e.audit,
}


@click.group()
def endpoint() -> None:
    """Attach network namespaces and look at them."""


@endpoint.command("list")
@click.option("--namespace", metavar="NAME", help="Only endpoints of this namespace.")
@output_option
@online
def list_(client: Client, namespace: str | None, output: str) -> None:
    """List endpoints."""
    values = [item for item in client.endpoints() if namespace in (None, item.namespace)]
    print_list(
        output,
        values,
        {
            "NAMESPACE": lambda e: e.namespace,
            "NAME": lambda e: e.name,
            "IDENTITY": lambda e: e.identity,
            "IPV4": lambda e: e.ipv4,
            "IPV6": lambda e: e.ipv6,
            "EGRESS": lambda e: _direction(e.egress, audit=e.audit),
            "INGRESS": lambda e: _direction(e.ingress, audit=e.audit),
            "STATE": lambda e: e.state,
            "LABELS": lambda e: short_labels(e.labels),
        },
    )


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
@click.option("--namespace", metavar="NAME", help="Its namespace.  [default: default]")
@click.option(
    "-l", "--label", "labels", multiple=True, metavar="KEY[=VALUE]", help="A label; may be repeated."
)
@click.option(
    "--namespace-label",
    "namespace_labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="A label of the namespace; may be repeated.",
)
@click.option(
    "--port-name",
    "port_names",
    multiple=True,
    metavar="NAME=PORT/PROTOCOL",
    help="What policies may call a port by, as in http=80/TCP; may be repeated.",
)
@click.option("--interface", default="eth0", show_default=True, help="Its name in the network namespace.")
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="ADDRESS",
    help="An address to give it, one of each family.  [default: from the pools]",
)
@click.option("--mtu", type=click.IntRange(68, 65535), help="Largest packet, in bytes.")
@output_option
@online
def attach(
    client: Client,
    netns: str | None,
    pid: int | None,
    name: str,
    namespace: str | None,
    labels: tuple[str, ...],
    namespace_labels: tuple[str, ...],
    port_names: tuple[str, ...],
    interface: str,
    addresses: tuple[str, ...],
    mtu: int | None,
    output: str,
) -> None:
    """Give a network namespace its interface; returns when its policy is in force."""
    if (netns is None) == (pid is None):
        raise click.UsageError("give either --netns or --pid")
    if netns is not None:
        netns = os.path.abspath(netns) if "/" in netns else f"/run/netns/{netns}"
    owner, own_name = split_name(name, namespace)
    request = EndpointRequest(
        name=own_name,
        namespace=owner,
        netns=netns,
        pid=pid,
        labels=labels,
        namespace_labels=dict(map(_pair, namespace_labels)),
        interface=interface,
        addresses=addresses,
        mtu=mtu,
        port_names=port_names,
    )
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


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def _direction(state: DirectionState, *, rule_set: bool = False, audit: bool = False) -> str:
    if not state.enforced:
        said = "audit" if audit and state.shadow else "open"
    else:
        said = f"enforced (rule set {state.rule_set})" if rule_set else "enforced"
    return f"{said}, beside it {state.shadow}" if rule_set and state.shadow else said
