"""What a proxy tells of a request, on its way to those who watch."""

from dataclasses import dataclass, replace

from kinety import abi
from kinety.agent.proxies import Proxies
from kinety.agent.stream import EventStream, Said
from kinety.api.proxy import Request


@dataclass(frozen=True, slots=True)
class Telling:
    """A request that the listener of a port refused, or let through and noted.

    Ends are packed addresses with their ports; ``protocol`` is TCP's number or UDP's.
    """

    port: int
    client: tuple[bytes, int]
    server: tuple[bytes, int]
    protocol: int
    denied: bool
    request: Request


class Teller:
    """Passes on what proxies tell, once somebody may watch, with the policies and rules behind it."""

    def __init__(self) -> None:
        self._parts: tuple[Proxies, EventStream] | None = None

    def begin(self, proxies: Proxies, stream: EventStream) -> None:
        """From now on."""
        self._parts = proxies, stream

    def __call__(self, telling: Telling) -> None:
        """Tell it."""
        if self._parts is None:
            return
        proxies, stream = self._parts
        policies, rules = proxies.askers(telling.port)
        stream.tell(
            Said(
                telling.client,
                telling.server,
                telling.protocol,
                abi.Verdict.DENY if telling.denied else abi.Verdict.ALLOW,
                min(rules, default=None),
                replace(telling.request, policies=policies),
            )
        )
