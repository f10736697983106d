"""Envoy as the agent has it: listeners are known to it by their ports, which outlive what they serve."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from kinety.agent.names.names import Mapped
from kinety.agent.options import Options
from kinety.agent.proxies.reception import Telling
from kinety.api.proxy import Request
from kinety.model.layer7 import Layer7Id, NamePattern
from kinety.proxy.envoy.envoy import Envoy
from kinety.proxy.envoy.listener import Listener as EnvoyListener
from kinety.proxy.envoy.observation import Request as Observed
from kinety.proxy.envoy.settings import EnvoySettings
from kinety.proxy.listener import Listener, ProxyState, Traffic

_TCP = 6
_PLAIN_BODY = "Access denied\r\n"


class EnvoyProxy:
    """``kinety.agent.proxies.kind.Served``."""

    name = "envoy"

    def __init__(
        self, options: Options, directory: Path, tell: Callable[[Telling], None], cgroup: Path | None
    ) -> None:
        """``directory`` is for Envoy's sockets and log; ``tell`` is called for every request it refuses.

        ``cgroup`` is the one that it is in, if any.
        """
        ports = options.proxy_source_ports
        settings = EnvoySettings(
            options.envoy,
            directory,
            source_ports=(ports.start, ports.stop - 1),
            denied_body=_PLAIN_BODY if options.l7_denied_body == "plain" else None,
            cgroup=cgroup,
        )
        self._envoy = Envoy(settings, lambda request: tell(telling(request)))

    async def put(self, listeners: Collection[Listener]) -> None:
        """As `Proxy`."""
        await self._envoy.put(_named(listeners))

    async def remove(self, ports: Collection[int]) -> None:
        """As `Proxy`."""
        await self._envoy.remove([Layer7Id(str(port)) for port in ports])

    async def restore(self, listeners: Collection[Listener], watched: frozenset[NamePattern]) -> None:
        """As `Proxy`."""
        await self._envoy.restore(_named(listeners))

    async def watch(self, patterns: frozenset[NamePattern]) -> None:
        """Names are nothing to it."""

    async def withhold(self, mapped: Collection[Mapped]) -> None:
        """Names are nothing to it."""

    async def readdress(self) -> None:
        """Addresses are nothing to it."""

    async def run(self) -> None:
        """Serve it and see to it that it lives. Cancelled, leave it running."""
        await self._envoy.run()

    async def end(self) -> None:
        """End the process."""
        await self._envoy.end()

    async def state(self) -> ProxyState:
        """As `Proxy`."""
        status = await self._envoy.status()
        traffic = {
            int(name): Traffic(each.requests, each.denied, each.p50, each.p99)
            for name, each in status.listeners.items()
        }
        return ProxyState(self.name, status.pid, status.version, status.problem, status.starts, traffic)


def _named(listeners: Collection[Listener]) -> Mapping[Layer7Id, EnvoyListener]:
    """Listeners under their ports: Envoy takes one of another name for another one."""
    return {
        Layer7Id(str(each.port)): EnvoyListener(each.port, each.layer7, each.layer7.policies)
        for each in listeners
    }


def telling(request: Observed) -> Telling:
    """What Envoy tells of a request."""
    is_http = bool(request.status)
    return Telling(
        port=int(request.listener or 0),
        client=(request.client.address, request.client.port),
        server=(request.server.address, request.server.port),
        protocol=_TCP,
        denied=request.denied,
        request=Request(
            kind="http" if is_http else "tls",
            method=request.method,
            path=request.path,
            host=request.host,
            status=request.status or None,
            milliseconds=request.latency * 1000 if is_http else None,
            why="a header mismatched" if request.mismatches else "",
        ),
    )
