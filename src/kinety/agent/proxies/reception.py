"""What proxies report, on its way to those who watch, and into the plan."""

import time
from dataclasses import dataclass, replace

from kinety import abi
from kinety.agent.names.names import Names
from kinety.agent.proxies.proxies import Proxies
from kinety.agent.stream import EventStream, Said
from kinety.api.proxy import Request
from kinety.model.address import IPAddress
from kinety.model.name import Answer


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


class Reception:
    """Where proxies report: requests that they refused, and answers of name servers."""

    def __init__(self) -> None:
        self._parts: tuple[Proxies, EventStream, Names] | None = None

    def open(self, proxies: Proxies, stream: EventStream, names: Names) -> None:
        """From now on; what is told before is lost, and what is asked is refused."""
        self._parts = proxies, stream, names

    def tell(self, telling: Telling) -> None:
        """A request, for those who watch, with the policies and rules behind it."""
        if self._parts is None:
            return
        proxies, stream, _ = self._parts
        policies, rules = proxies.askers(telling.port)
        stream.tell(
            Said(
                telling.client,
                telling.server,
                telling.protocol,
                abi.Verdict.DENY if telling.denied else abi.Verdict.ALLOW,
                rules,
                replace(telling.request, policies=policies),
            )
        )

    async def learn(self, answer: Answer) -> bool:
        """Whether the kernel knows all addresses of an answer, when it returns."""
        return self._parts is not None and await self._parts[2].learn(answer)

    def known(self) -> dict[tuple[str, IPAddress], float]:
        """Names with addresses that the kernel knows, and until when, by the monotonic clock."""
        if self._parts is None:
            return {}
        now = time.monotonic()
        return {mapped: now + left for mapped, left in self._parts[2].mappings().items()}
