"""All listeners of a node, as they were ordered."""

from collections.abc import Collection, Mapping

from kinety.model.layer7 import Layer7Id
from kinety.proxy.dns.counters import ListenerStatistics
from kinety.proxy.dns.listener import ServedListener
from kinety.proxy.dns.question import ResponseCode
from kinety.proxy.dns.service import Service
from kinety.proxy.dns.state import Listener


class Server:
    """Listeners by their rule sets."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._listeners: dict[Layer7Id, ServedListener] = {}
        self._denied = ResponseCode.REFUSED

    async def put(self, listeners: Mapping[Layer7Id, Listener]) -> None:
        """Serve these, too; in force when it returns. Raises OSError, and serves as before then."""
        opened: dict[Layer7Id, ServedListener] = {}
        try:
            for key, wanted in listeners.items():
                served = self._listeners.get(key)
                if served is None or served.port != wanted.port:
                    opened[key] = ServedListener(key, wanted.port, self._service)
                    opened[key].change(wanted.patterns, self._denied)
                    await opened[key].start()
        except BaseException:
            for each in opened.values():
                each.close()
            raise
        self.remove(opened)
        self._listeners |= opened
        for key, wanted in listeners.items():
            self._listeners[key].change(wanted.patterns, self._denied)

    def remove(self, keys: Collection[Layer7Id]) -> None:
        """Serve these no longer."""
        for key in keys:
            if (served := self._listeners.pop(key, None)) is not None:
                served.close()

    async def restore(self, listeners: Mapping[Layer7Id, Listener], denied: ResponseCode) -> None:
        """Serve exactly these, and say this of names that may not be asked for. Raises OSError."""
        self._denied = denied
        # Ports may have changed hands.
        self.remove(
            [
                key
                for key, served in self._listeners.items()
                if key not in listeners or listeners[key].port != served.port
            ]
        )
        await self.put(listeners)

    def expire(self, now: float) -> None:
        """Give up what is too old; to be called every second or so, with monotonic time."""
        for each in self._listeners.values():
            each.expire(now)

    def close(self) -> None:
        """Stop serving."""
        self.remove([*self._listeners])

    def statistics(self) -> dict[Layer7Id, ListenerStatistics]:
        """What each has done."""
        return {key: each.statistics() for key, each in self._listeners.items()}
