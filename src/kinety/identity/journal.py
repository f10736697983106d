"""How a change that fails leaves no trace: every step says how to take it back."""

from collections.abc import Callable, MutableMapping
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Journal:
    """The undo log of the change that is going on, shared by everything the change touches."""

    __slots__ = ("_arguments", "_functions")

    def __init__(self) -> None:
        # Step after step its function and arguments: a pair of each would keep the collector busy.
        self._functions: list[Callable[..., object]] = []
        self._arguments: list[tuple[object, ...]] = []

    def did(self, undo: Callable[..., object], *arguments: object) -> None:
        """Note how to take back what was just done, given that all later steps were taken back."""
        self._functions.append(undo)
        self._arguments.append(arguments)

    def put(self, mapping: MutableMapping[Key, Value], key: Key, value: Value) -> None:
        """Set an item of a mapping."""
        if key in mapping:
            self.did(mapping.__setitem__, key, mapping[key])
        else:
            self.did(mapping.__delitem__, key)
        mapping[key] = value

    def pop(self, mapping: MutableMapping[Key, Value], key: Key) -> Value:
        """Remove an item of a mapping and return its value. Raises KeyError."""
        value = mapping.pop(key)
        self.did(mapping.__setitem__, key, value)
        return value

    def commit(self) -> None:
        """What was done stays done."""
        self._functions.clear()
        self._arguments.clear()

    def rollback(self) -> None:
        """Take everything back, the last step first."""
        while self._functions:
            self._functions.pop()(*self._arguments.pop())
