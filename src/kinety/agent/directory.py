"""Names for the numbers that events carry.

Written by the worker thread, one item at a time, and read by the event loop; each access is one
dictionary operation, so neither waits for the other.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from kinety.api.types import EventRule
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.identity import Identity, ReservedIdentity
from kinety.model.label import Labels
from kinety.model.rule import DEFAULT_RULE, Direction, Rule, RuleId

#: Removed rules whose place in a file is still known.
_REMEMBERED = 256
_DEFAULT = EventRule(DEFAULT_RULE, None, None, None, None)


class Directory:
    """Endpoints by id and address, identities by address and their labels, rules by number, hooks by slot."""

    def __init__(
        self,
        labels_of: Callable[[Identity], Labels | None],
        identity_at: Callable[[bytes], Identity] = lambda _: Identity(ReservedIdentity.UNKNOWN),
    ) -> None:
        """``identity_at`` tells whose an address is, whoever has it, and may be asked on any thread."""
        self._labels_of = labels_of
        #: Whose an address (16 bytes) is.
        self.identity_at = identity_at
        self._endpoints: dict[EndpointId, Endpoint] = {}
        self._addresses: dict[bytes, Endpoint] = {}
        self._rules: dict[RuleId, Rule] = {}
        self._hooks: dict[int, str] = {}
        #: The node's own addresses.
        self.host_addresses: frozenset[bytes] = frozenset()
        self._removed: deque[tuple[RuleId, Rule]] = deque()

    def add_endpoint(self, endpoint: Endpoint) -> None:
        """An endpoint exists."""
        self._endpoints[endpoint.id] = endpoint
        for address in (endpoint.ipv4, endpoint.ipv6):
            if address is not None:
                self._addresses[address] = endpoint

    def remove_endpoint(self, endpoint: Endpoint) -> None:
        """An endpoint is gone."""
        self._endpoints.pop(endpoint.id, None)
        for address in (endpoint.ipv4, endpoint.ipv6):
            if address is not None:
                self._addresses.pop(address, None)

    def change_rules(self, added: Mapping[RuleId, Rule], removed: Iterable[RuleId] = ()) -> None:
        """Rules came and went. The last removed ones are remembered, for events that are on their way."""
        self._rules.update(added)
        for number in removed:
            self._removed.append((number, self._rules[number]))
            if len(self._removed) > _REMEMBERED:
                old, rule = self._removed.popleft()
                if self._rules.get(old) is rule:
                    del self._rules[old]

    def endpoint(self, number: EndpointId) -> Endpoint | None:
        """The endpoint of an id."""
        return self._endpoints.get(number)

    def at(self, address: bytes) -> Endpoint | None:
        """The endpoint that has an address."""
        return self._addresses.get(address)

    def labels(self, identity: Identity) -> tuple[str, ...]:
        """The labels of an identity, as text."""
        return tuple(sorted(map(str, self._labels_of(identity) or ())))

    def name_hooks(self, names: Mapping[int, str]) -> None:
        """These hooks are loaded. Names of former ones stay, for events that are on their way."""
        self._hooks.update(names)

    def hook(self, slot: int) -> str | None:
        """The name of the operator's filters in a slot."""
        return self._hooks.get(slot)

    def direction(self, rules: Iterable[RuleId]) -> Direction | None:
        """The direction that rules are about; None of some about either, or that are not known."""
        found = {None if (rule := self._rules.get(each)) is None else rule.direction for each in rules}
        return found.pop() if len(found) == 1 else None

    def rule(self, number: RuleId) -> EventRule:
        """Where a rule was written, and what its policy wants said about it."""
        if number == DEFAULT_RULE:
            return _DEFAULT
        rule = self._rules.get(number)
        if rule is None:
            return EventRule(number, None, None, None, None)
        origin = rule.origin
        return EventRule(
            number, str(origin.policy), origin.file, origin.line, origin.path, rule.log, rule.mode.value
        )
