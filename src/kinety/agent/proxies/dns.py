"""The DNS proxy as the agent has it: it knows listeners by their ports, which outlive what they serve."""

import contextlib
from collections.abc import Collection
from ipaddress import ip_address
from pathlib import Path

from kinety.agent.names.names import Mapped
from kinety.agent.options import Options
from kinety.agent.proxies.reception import Reception, Telling
from kinety.agent.proxies.surroundings import Surroundings
from kinety.api.proxy import Request
from kinety.model.address import pack_address
from kinety.model.layer7 import Layer7Id, NamePattern
from kinety.proxy.dns import Denied, DnsProxy, DnsSettings, Protection
from kinety.proxy.dns import Listener as DnsListener
from kinety.proxy.dns.question import ResponseCode
from kinety.proxy.error import ProxyError
from kinety.proxy.listener import Listener, ProxyState, Traffic


class NameProxy:
    """``kinety.agent.proxies.kind.Served``."""

    name = "dns"

    def __init__(
        self, options: Options, directory: Path, reception: Reception, surroundings: Surroundings
    ) -> None:
        """``directory`` is for the process's sockets, state and log; ``reception`` is where it reports."""
        self._options, self._own = options, surroundings.own
        ports = options.proxy_source_ports
        settings = DnsSettings(
            directory,
            source_ports=(ports.start, ports.stop - 1),
            least_lifetime=int(options.fqdn_min_ttl),
            protection=self._protection(),
            denied=ResponseCode.NAME_ERROR if options.dns_denied == "nxdomain" else ResponseCode.REFUSED,
            cgroup=surroundings.cgroup,
        )
        self._dns = DnsProxy(
            settings, reception.learn, lambda denied: reception.tell(telling(denied)), reception.known
        )

    async def put(self, listeners: Collection[Listener]) -> None:
        """As `Proxy`."""
        await self._dns.put(_named(listeners))

    async def remove(self, ports: Collection[int]) -> None:
        """As `Proxy`."""
        await self._dns.remove([Layer7Id(str(port)) for port in ports])

    async def restore(self, listeners: Collection[Listener], watched: frozenset[NamePattern]) -> None:
        """As `Proxy`."""
        await self._dns.restore(_named(listeners), watched)

    async def watch(self, patterns: frozenset[NamePattern]) -> None:
        """As `Proxy`."""
        await self._dns.watch(patterns)

    async def withhold(self, mapped: Collection[Mapped]) -> None:
        """Hold answers with these mappings until they are learnt again."""
        with contextlib.suppress(ProxyError):  # a process that comes is told what there is
            await self._dns.forget(mapped)

    async def readdress(self) -> None:
        """The node has other addresses now. Raises ProxyError."""
        await self._dns.protect(self._protection())

    async def run(self) -> None:
        """Serve it and see to it that it lives. Cancelled, leave it running."""
        await self._dns.run()

    async def end(self) -> None:
        """End the process."""
        await self._dns.end()

    async def state(self) -> ProxyState:
        """As `Proxy`."""
        status = await self._dns.status()
        traffic = {
            int(name): Traffic(each.questions, each.denied, each.p50_milliseconds, each.p99_milliseconds)
            for name, each in status.listeners.items()
        }
        return ProxyState(self.name, status.pid, status.version, status.problem, status.starts, traffic)

    def _protection(self) -> Protection:
        """Which addresses answers may not have."""
        kind, exempt = self._options.dns_protect, self._options.dns_protect_exempt
        return Protection() if kind == "none" else Protection.of(self._own(), kind == "private", exempt)


def _named(listeners: Collection[Listener]) -> dict[Layer7Id, DnsListener]:
    """Listeners under their ports."""
    return {Layer7Id(str(each.port)): DnsListener(each.port, each.layer7.dns) for each in listeners}


def telling(denied: Denied) -> Telling:
    """What the DNS proxy tells of a question that it refused."""
    client, server = (
        (pack_address(ip_address(each.host)), each.port) for each in (denied.client, denied.server)
    )
    return Telling(
        port=int(denied.listener),
        client=client,
        server=server,
        protocol=denied.protocol,
        denied=True,
        request=Request(kind="dns", method=denied.type_text, host=denied.name, why=denied.why.value),
    )
