"""The agent's end of one connection with the DNS proxy's process."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any

from kinety.model.layer7 import Layer7Id
from kinety.model.name import Answer
from kinety.proxy.dns import frame
from kinety.proxy.dns.outbox import Outbox
from kinety.proxy.dns.question import Why
from kinety.proxy.dns.service import Denied
from kinety.proxy.dns.transparent import Place
from kinety.proxy.error import ProxyError

log = logging.getLogger(__name__)

#: Whether the kernel has all addresses of an answer, when it returns.
Learn = Callable[[Answer], Awaitable[bool]]


class Session:
    """Orders go out and are acknowledged; answers and denials come in."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        learn: Learn,
        denied: Callable[[Denied], None],
        gone: Callable[["Session"], None],
    ) -> None:
        """``gone`` is called when the proxy is, at once; `run` ends when all that it told is learnt."""
        self._reader, self._writer = reader, writer
        self._outbox = Outbox(writer)
        self._learn, self._denied, self._gone = learn, denied, gone
        self._serial = 0
        self._orders: dict[int, asyncio.Future[Any]] = {}
        self._learning: set[asyncio.Task[None]] = set()
        self._ended = False

    async def run(self) -> None:
        """Until the proxy is gone. Orders without an acknowledgement fail then."""
        try:
            async with asyncio.TaskGroup() as group:
                while (value := await self._next()) is not None:
                    match value:
                        case {"done": serial}:
                            self._acknowledge(serial, value)
                        case {"answer": number}:
                            task = group.create_task(self._answer(number, value))
                            self._learning.add(task)
                            task.add_done_callback(self._learning.discard)
                        case {"denied": rows}:
                            for row in rows:
                                self._denied(_denied(*row))
                self._abandon()
        finally:
            self._abandon()

    async def order(self, **order: object) -> Any:
        """What an order gave when it was in force. Raises ProxyError when the proxy refuses, or ends."""
        if self._ended:
            raise ProxyError("the DNS proxy has ended")
        self._serial += 1
        future = self._orders[self._serial] = asyncio.get_running_loop().create_future()
        serial = self._serial
        try:
            self._outbox.put({"serial": serial, **order})
            await self._writer.drain()
            return await future
        except OSError as error:
            raise ProxyError(f"the DNS proxy does not listen: {error}") from error
        finally:
            del self._orders[serial]

    def close(self) -> None:
        """End the connection, and what is being learnt from it."""
        self._writer.transport.abort()
        for each in self._learning:
            each.cancel()

    async def _next(self) -> frame.Value | None:
        try:
            return await frame.receive(self._reader)
        except (OSError, EOFError):
            return None
        except ValueError as error:
            log.error("the DNS proxy says what nobody understands: %s", error)
            return None

    def _abandon(self) -> None:
        self._ended = True
        self._writer.close()
        self._gone(self)
        for each in self._orders.values():
            if not each.done():
                each.set_exception(ProxyError("the DNS proxy ended before it did what it was told"))

    def _acknowledge(self, serial: int, value: frame.Value) -> None:
        future = self._orders.get(serial)
        if future is None or future.done():
            return
        if value["error"] is None:
            future.set_result(value.get("value"))
        else:
            future.set_exception(ProxyError(f"the DNS proxy refuses: {value['error']}"))

    async def _answer(self, number: int, value: frame.Value) -> None:
        addresses = tuple((ip_address(address), int(seconds)) for address, seconds in value["addresses"])
        try:
            client = ip_address(value["client"])
            learnt = await self._learn(Answer(value["name"], addresses, tuple(value["chain"]), client))
        except Exception:  # whatever it is, the client must not have the answer, and others go on
            log.exception("the addresses of %s are not in the kernel", value["name"])
            learnt = False
        self._outbox.put({"known" if learnt else "failed": number})


def _denied(
    listener: str, client: str, port: int, server: str, to: int, protocol: int, name: str, kind: int, why: str
) -> Denied:
    places = Place(client, port), Place(server, to)
    return Denied(Layer7Id(listener), *places, protocol, name, kind, Why(why))
