"""What every verb that talks to the agent shares."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from kinety.api.client import Client
from kinety.api.types import DEFAULT_SOCKET


def online(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb ``--socket`` and, as its first argument, a client of the agent there."""

    @click.option("--socket", metavar="PATH", help=f"The agent's socket.  [default: {DEFAULT_SOCKET}]")
    @wraps(command)
    def with_client(socket: str | None, **arguments: Any) -> Any:
        context = click.get_current_context()
        path = socket or context.find_root().obj or os.environ.get("KINETY_SOCKET") or DEFAULT_SOCKET
        with Client(path) as client:
            return command(client, **arguments)

    return with_client


def split_name(name: str, namespace: str | None) -> tuple[str, str]:
    """Namespace and name from ``NAME`` or ``NAMESPACE/NAME``."""
    head, slash, tail = name.partition("/")
    if slash and namespace is not None and namespace != head:
        raise click.UsageError(f"{name!r} names the namespace {head!r}, and --namespace says {namespace!r}")
    return (head, tail) if slash else (namespace or "default", name)
