"""What can be said of an endpoint-to-be, by every verb that attaches one."""

from collections.abc import Callable
from typing import Any, TypedDict, TypeVar, Unpack

import click

from kinety.api.types import Bandwidth, EndpointRequest
from kinety.cli.online import split_name

_F = TypeVar("_F", bound=Callable[..., Any])


class _Quantity(click.ParamType[int]):
    """Bits, as Kubernetes writes them."""

    name = "quantity"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read what was typed; the default is a number."""
        if isinstance(value, int):
            return value
        from kinety.model.quantity import parse_quantity

        try:
            return parse_quantity(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


QUANTITY = _Quantity()

_OPTIONS = (
    click.option("--namespace", metavar="NAME", help="Its namespace.  [default: default]"),
    click.option(
        "-l", "--label", "labels", multiple=True, metavar="KEY[=VALUE]", help="A label; may be repeated."
    ),
    click.option(
        "--namespace-label",
        "namespace_labels",
        multiple=True,
        metavar="KEY=VALUE",
        help="A label of the namespace; may be repeated.",
    ),
    click.option(
        "--port-name",
        "port_names",
        multiple=True,
        metavar="NAME=PORT/PROTOCOL",
        help="What policies may call a port by, as in http=80/TCP; may be repeated.",
    ),
    click.option(
        "--publish",
        "host_ports",
        multiple=True,
        metavar="[ADDRESS:]PORT:PORT[/PROTOCOL]",
        help="A port of the node that leads to one of its own, as in 8080:80/tcp; may be repeated.",
    ),
    click.option("--interface", default="eth0", show_default=True, help="Its name in the network namespace."),
    click.option(
        "--address",
        "addresses",
        multiple=True,
        metavar="ADDRESS",
        help="An address to give it, one of each family.  [default: from the pools]",
    ),
    click.option("--mac", metavar="MAC", help="The MAC address of its interface.  [default: any]"),
    *(
        click.option(
            f"--{way}-{what}",
            type=QUANTITY,
            default=0,
            metavar="BITS",
            help=help_,
        )
        for way, does in (("egress", "sends"), ("ingress", "receives"))
        for what, help_ in (
            ("rate", f"How much it {does} in a second at most, as in 10M."),
            ("burst", f"How much it {does} at once beside that.  [default: half a second's]"),
        )
    ),
    click.option("--mtu", type=click.IntRange(68, 65535), help="Largest packet, in bytes."),
)


class Options(TypedDict):
    """The options' values, by parameter."""

    namespace: str | None
    labels: tuple[str, ...]
    namespace_labels: tuple[str, ...]
    port_names: tuple[str, ...]
    host_ports: tuple[str, ...]
    interface: str
    addresses: tuple[str, ...]
    mac: str | None
    egress_rate: int
    egress_burst: int
    ingress_rate: int
    ingress_burst: int
    mtu: int | None


def endpoint_options(command: _F) -> _F:
    """Give a verb the options, which it hands on to `endpoint_request`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def endpoint_request(name: str, **options: Unpack[Options]) -> EndpointRequest:
    """The request for an endpoint of this name (``[NAMESPACE/]NAME``), of which only the place is missing."""
    namespace, own_name = split_name(name, options["namespace"])
    bandwidth = Bandwidth(
        egress_rate=options["egress_rate"],
        egress_burst=options["egress_burst"],
        ingress_rate=options["ingress_rate"],
        ingress_burst=options["ingress_burst"],
    )
    return EndpointRequest(
        name=own_name,
        namespace=namespace,
        labels=options["labels"],
        namespace_labels=dict(map(_pair, options["namespace_labels"])),
        interface=options["interface"],
        addresses=options["addresses"],
        mtu=options["mtu"],
        port_names=options["port_names"],
        host_ports=options["host_ports"],
        mac=options["mac"],
        bandwidth=bandwidth if bandwidth != Bandwidth() else None,
    )


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value
