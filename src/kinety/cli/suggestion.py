"""What a shell offers for a name the agent knows; nothing when it does not answer at once."""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kinety.cli.online import connect

if TYPE_CHECKING:
    from kinety.api.client import Client

#: Nobody waits longer for a completion, in seconds.
_PATIENCE = 2.0
_NAMESPACES = Path("/run/netns")
_Suggest = Callable[[click.Context, click.Parameter, str], list[str]]


def _asking(names: Callable[["Client"], Iterable[str]]) -> _Suggest:
    def suggest(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        from kinety.api.errors import ApiError

        known: list[str] = []
        socket = context.params.get("socket")
        with suppress(OSError, ValueError, ApiError), connect(context, socket, _PATIENCE) as client:
            known = sorted(names(client))
        given = context.params.get(parameter.name or "") or ()
        return [name for name in known if name.startswith(incomplete) and name not in given]

    return suggest


def _endpoint_names(client: "Client") -> list[str]:
    return [_short(item.namespace, item.name) for item in client.endpoints()]


def _hook_names(client: "Client") -> list[str]:
    return [item.name for item in client.hooks()]


def _policy_names(client: "Client") -> list[str]:
    keys = [(item.kind, _short(item.namespace, item.name)) for item in client.policies()]
    times = Counter(name for _, name in keys)
    return [name if times[name] == 1 else f"{kind}/{name}" for kind, name in keys]


def _map_names(client: "Client") -> list[str]:
    return [item.name for item in client.maps()]


def _short(namespace: str, name: str) -> str:
    return name if namespace in ("", "default") else f"{namespace}/{name}"


#: Endpoints of the node, policies in force, and maps of the datapath.
endpoint_names = _asking(_endpoint_names)
policy_names = _asking(_policy_names)
hook_names = _asking(_hook_names)
map_names = _asking(_map_names)


def network_namespaces(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Named network namespaces of the machine."""
    names = sorted(entry.name for entry in _NAMESPACES.iterdir()) if _NAMESPACES.is_dir() else []
    return [name for name in names if name.startswith(incomplete)]
