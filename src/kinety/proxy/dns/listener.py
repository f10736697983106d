"""One set of rules, served on a port of loopback: UDP and TCP, both families."""

from kinety.model.layer7 import Layer7Id, NamePattern
from kinety.proxy.dns.counters import ListenerStatistics
from kinety.proxy.dns.datagrams import Datagrams
from kinety.proxy.dns.question import ResponseCode
from kinety.proxy.dns.rules import Rules
from kinety.proxy.dns.service import Desk, Service
from kinety.proxy.dns.streams import Streams


class ServedListener:
    """A listener's sockets."""

    def __init__(self, listener: Layer7Id, port: int, service: Service) -> None:
        """Nothing is let through before `change`, nothing is served before `start`."""
        self.port = port
        self._service = service
        self._desk = Desk(listener, Rules(()), service)
        self._datagrams: list[Datagrams] = []
        self._streams: list[Streams] = []

    def change(self, patterns: tuple[NamePattern, ...], denied: ResponseCode) -> None:
        """Let these names through, from the next question on, and no others; of those, say this."""
        rules = self._desk.rules
        if (rules.patterns, rules.denied) != (patterns, denied):
            self._desk.rules = Rules(patterns, denied)

    async def start(self) -> None:
        """Serve. Raises OSError, and has opened nothing then."""
        try:
            for family in self._service.replies:
                self._datagrams.append(Datagrams(family, self.port, self._desk, self._service))
                self._streams.append(Streams(family, self.port, self._desk, self._service))
            for each in self._streams:
                await each.start()
        except OSError as error:
            self.close()
            raise OSError(error.errno, f"port {self.port} of loopback: {error.strerror}") from error

    def expire(self, now: float) -> None:
        """Give up what is too old; to be called every second with monotonic time."""
        for each in self._datagrams:
            each.expire(now)

    def close(self) -> None:
        """Stop serving."""
        for datagrams in self._datagrams:
            datagrams.close()
        for streams in self._streams:
            streams.close()
        self._datagrams.clear()
        self._streams.clear()

    def statistics(self) -> ListenerStatistics:
        """What it has done since it was opened."""
        return self._desk.counters.statistics()
