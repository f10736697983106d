"""What an operator chooses of Envoy, and what the node it runs on determines."""

from dataclasses import dataclass
from pathlib import Path

#: What the process, and files about it, are called.
NAME = "envoy"
#: A user id that no distribution, container or part of systemd gives to anybody.
USER = 60923


@dataclass(frozen=True, slots=True)
class EnvoySettings:
    """How Envoy is started and what it may use.

    ``binary`` is a path, or a name on PATH. ``directory`` is the agent's own for this, made if need be.
    ``user`` is who Envoy runs as, group included, with nothing but the capability for transparent sockets; 0
    keeps root. ``source_ports`` are the first and last port of its connections to servers. ``denied_body``
    answers refused requests instead of the text that names policies. ``max_connections`` counts clients'
    connections, ``max_heap`` bytes; what is beyond either is refused. ``max_log`` is in bytes, of each of two
    files. ``patience`` is how many seconds a change may take. ``cgroup`` is the one that Envoy is in, by its
    directory; None: its starter's.
    """

    binary: str
    directory: Path
    user: int = USER
    concurrency: int = 2
    source_ports: tuple[int, int] = (61000, 65535)
    denied_body: str | None = None
    max_connections: int = 50_000
    max_heap: int = 2 * 1024**3
    max_log: int = 4 * 1024**2
    patience: float = 10.0
    cgroup: Path | None = None

    @property
    def channel(self) -> Path:
        """The agent's socket, that Envoy asks what to do and tells what it refused."""
        return self.directory / "agent.sock"

    @property
    def admin(self) -> Path:
        """Envoy's own socket, in a directory that it may write to."""
        return self.directory / "admin" / "admin.sock"

    @property
    def log(self) -> Path:
        """What Envoy says of itself."""
        return self.directory / f"{NAME}.log"
