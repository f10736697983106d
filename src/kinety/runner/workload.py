"""A process that becomes an endpoint and then a command.

In this order, each step of which may fail and then there is no command: a network namespace of its own,
its interface with the policy in force, its files in /etc, its user, the command. The namespace has no name
and nobody else holds it: when its last process is gone, so is the namespace, and the agent forgets the
endpoint, whoever was killed meanwhile.
"""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kinety.api.client import Client
from kinety.api.errors import ApiError
from kinety.api.types import Dns, Endpoint, EndpointRequest
from kinety.kernel import libc
from kinety.runner import etc
from kinety.runner.supervision import die_with
from kinety.runner.user import User

#: What a host's name may have of bytes. Source: sethostname(2), HOST_NAME_MAX.
_LONGEST_HOST_NAME = 64


@dataclass(frozen=True, slots=True)
class Workload:
    """A command, and the endpoint that it is to be.

    ``endpoint`` has neither ``netns`` nor ``pid``. ``dns`` are addresses of name servers; without any it
    asks those that the agent tells of, or else the node's. With ``hosts`` the endpoint's name is the host's
    name. Raises ValueError.
    """

    endpoint: EndpointRequest
    command: tuple[str, ...]
    user: User | None = None
    dns: tuple[str, ...] = ()
    hosts: bool = False

    def __post_init__(self) -> None:
        if self.hosts and len(self.endpoint.name) > _LONGEST_HOST_NAME:
            message = f"{self.endpoint.name!r} is too long for a host's name, of at most {_LONGEST_HOST_NAME}"
            raise ValueError(message)

    def prepare(self, agent: Client) -> None:
        """Make this process all that the command is to be, so that nothing is left but to execute it.

        Raises ApiError or AgentUnreachable when it cannot be an endpoint, OSError when the kernel refuses.
        """
        parent = os.getppid()
        try:
            libc.unshare(libc.CLONE_NEWNET)
        except PermissionError as error:
            message = (
                "only root may make it a network namespace: use sudo, and --user to be somebody else again"
            )
            raise PermissionError(error.errno, message) from error
        with agent:
            made = agent.attach(replace(self.endpoint, pid=os.getpid()))
        if files := dict(self._files(made)):
            etc.replace(files)
        if self.hosts:
            libc.unshare(libc.CLONE_NEWUTS)
            socket.sethostname(self.endpoint.name)
        if self.user is not None:
            self.user.become()
            die_with(parent)

    def release(self, agent: Client, pid: int) -> None:
        """Detach the endpoint that the process was, at once; who is not there is not missed.

        An agent that is away, or one that has forgotten the endpoint already, will find it gone. Another
        endpoint that has the name by now is left alone.
        """
        own = (self.endpoint.namespace, self.endpoint.name)
        try:
            if agent.endpoint(*own).netns == f"/proc/{pid}/ns/net":
                agent.detach(*own)
        except (ApiError, ConnectionError):
            return

    def _files(self, made: Endpoint) -> Iterator[tuple[Path, str]]:
        told = made.dns or Dns()
        servers = self.dns or told.nameservers
        if servers or told.search:
            yield etc.RESOLV_CONF, etc.resolv_conf(etc.text_of(etc.RESOLV_CONF), servers, told.search)
        if self.hosts:
            addresses = [address for address in (made.ipv4, made.ipv6) if address is not None]
            yield etc.HOSTS, etc.hosts(etc.text_of(etc.HOSTS), self.endpoint.name, addresses)
