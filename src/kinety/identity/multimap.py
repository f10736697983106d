"""Several values by key, where nearly every key has one."""

from collections.abc import MutableMapping
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Multimap(Generic[_Key, _Value]):
    """Values by key, each once, in the order they were added.

    The only value of a key needs no container: of sixty thousand keys, their containers took 14 MiB.
    Values are compared by what they are, not by what they say, and are no dicts.
    """

    __slots__ = ("_found",)

    def __init__(self, found: MutableMapping[_Key, _Value | dict[_Value, None]] | None = None) -> None:
        """``found`` is an empty mapping to keep them in, where that is not to be a dict."""
        self._found = {} if found is None else found

    def __bool__(self) -> bool:
        """Whether any key has a value."""
        return bool(self._found)

    def __contains__(self, key: _Key) -> bool:
        """Whether a key has a value."""
        return key in self._found

    def of(self, key: _Key) -> tuple[_Value, ...]:
        """The values of a key, as they are now."""
        found = self._found.get(key)
        if found is None:
            return ()
        return tuple(found) if isinstance(found, dict) else (found,)

    def add(self, key: _Key, value: _Value) -> None:
        """A key has a value, if it did not have it already."""
        found = self._found.get(key)
        if isinstance(found, dict):
            found[value] = None
        elif found is None or found is value:
            self._found[key] = value
        else:
            self._found[key] = {found: None, value: None}

    def discard(self, key: _Key, value: _Value) -> None:
        """A key has a value no more, if it had it."""
        found = self._found.get(key)
        if isinstance(found, dict):
            found.pop(value, None)
            if len(found) == 1:
                (self._found[key],) = found
        elif found is value:
            del self._found[key]
