"""``kinety run``: a command as an endpoint.

The one verb that does something to processes itself: it is about the terminal, signals and user of whoever
typed it, in which an agent has no part. The system calls are `kinety.runner`'s; the agent is asked for no
more than by ``kinety endpoint attach --pid``.
"""

import os
import re
import secrets
from ipaddress import ip_address
from typing import Unpack

import click

from kinety.api.client import Client
from kinety.cli.complaint import complain
from kinety.cli.endpoint_options import Options, endpoint_options, endpoint_request
from kinety.cli.exit_code import NOT_EXECUTABLE, NOT_FOUND, NOT_RUN
from kinety.cli.online import connect, online
from kinety.runner.supervision import end_like, supervise
from kinety.runner.user import User
from kinety.runner.workload import Workload

#: A resolver asks no more. Source: resolv.conf(5), MAXNS.
_MOST_SERVERS = 3
_LONGEST_STEM = 40
#: How long an agent may take to detach, in seconds, which nobody can interrupt; one that is slower collects.
_PATIENCE = 5.0


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--name",
    metavar="[NAMESPACE/]NAME",
    help="What to call the endpoint.  [default: the command's name and random digits]",
)
@endpoint_options
@click.option("--user", metavar="USER[:GROUP]", help="Run it as somebody else; names or numbers.")
@click.option(
    "--dns",
    multiple=True,
    metavar="ADDRESS",
    help="A name server for its /etc/resolv.conf; up to three.  [default: the agent's, or else the node's]",
)
@click.option("--hosts", is_flag=True, help="Call its host by the endpoint's name, in /etc/hosts, too.")
@online
def run(
    client: Client,
    command: tuple[str, ...],
    name: str | None,
    user: str | None,
    dns: tuple[str, ...],
    hosts: bool,
    **options: Unpack[Options],
) -> int:
    """Run a command in a network namespace of its own, as an endpoint, with its policy in force.

    The policy is in force before the command begins; if it cannot be, the command does not begin. Terminal,
    signals, environment and files are as without "kinety run --". It ends as the command did, and the
    endpoint with it. 125: the command was not run; 126: it cannot be executed; 127: there is none.
    """
    _check_servers(dns)
    try:
        whom = None if user is None else User.parse(user)
        workload = Workload(
            endpoint_request(name or _name_for(command[0]), **options), command, whom, dns, hosts
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    ended = supervise(lambda: _start(workload, client))
    context = click.get_current_context()
    with connect(context, context.params["socket"], _PATIENCE) as agent:
        workload.release(agent, ended.pid)
    return end_like(ended.code)


def _start(workload: Workload, client: Client) -> int:
    """In the child. The status to end with, where there is no command to become."""
    from kinety.api.errors import ApiError

    try:
        workload.prepare(client)
    except (ApiError, OSError) as error:
        complain(f"{workload.command[0]} was not run: {getattr(error, 'strerror', None) or error}")
        return NOT_RUN
    try:
        os.execvp(workload.command[0], workload.command)
    except FileNotFoundError:
        complain(f"{workload.command[0]}: there is no such command")
        return NOT_FOUND
    except OSError as error:
        complain(f"{workload.command[0]} cannot be executed: {error.strerror}")
        return NOT_EXECUTABLE


def _check_servers(servers: tuple[str, ...]) -> None:
    if len(servers) > _MOST_SERVERS:
        raise click.UsageError(
            f"{len(servers)} name servers are given, and {_MOST_SERVERS} are asked at most"
        )
    for each in servers:
        try:
            ip_address(each)
        except ValueError as error:
            raise click.UsageError(f"--dns {each!r} is no IP address") from error


def _name_for(command: str) -> str:
    """What an endpoint may be called that runs this command, different each time."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", os.path.basename(command)).strip("._-")[:_LONGEST_STEM]
    return f"{stem or 'command'}-{secrets.token_hex(4)}"
