"""What every verb that talks to the agent shares."""

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from kinety.api.types import DEFAULT_SOCKET

if TYPE_CHECKING:
    from kinety.api.client import Client


def online(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb ``--socket`` and, as its first argument, a client of the agent there."""

    @click.option(
        "--socket",
        type=click.Path(),
        metavar="PATH",
        help=f"The agent's socket.  [default: {DEFAULT_SOCKET}]",
    )
    @wraps(command)
    def with_client(socket: str | None, **arguments: Any) -> Any:
        with connect(click.get_current_context(), socket) as client:
            return command(client, **arguments)

    return with_client


def connect(context: click.Context, socket: str | None, timeout: float = 60.0) -> "Client":
    """A client of the agent on the socket given to the verb, to ``kinety``, or by the environment."""
    from kinety.api.client import Client

    root = context.find_root().params.get("socket")
    return Client(socket or root or os.environ.get("KINETY_SOCKET") or DEFAULT_SOCKET, timeout)


def split_name(name: str, namespace: str | None) -> tuple[str, str]:
    """Namespace and name from ``NAME`` or ``NAMESPACE/NAME``."""
    head, slash, tail = name.partition("/")
    if slash and namespace is not None and namespace != head:
        raise click.UsageError(f"{name!r} names the namespace {head!r}, and --namespace says {namespace!r}")
    return (head, tail) if slash else (namespace or "default", name)
