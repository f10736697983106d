"""JSON values into the frozen classes of ``kinety.api.types`` and back, by their annotations alone."""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

_T = TypeVar("_T")
_Decoder = Callable[[Any], Any]


def decode(cls: type[_T], value: Any) -> _T:
    """An instance of the dataclass ``cls``. Fields it does not know are skipped, so newer agents can be read.

    Raises ValueError when a field is missing or of another type.
    """
    key: Any = cls
    decoder: Callable[[Any], _T] = _dataclass_decoder(key)
    return decoder(value)


def encode(value: Any) -> Any:
    """The JSON value of a dataclass, deeply."""
    if is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, frozenset)):
        return [encode(item) for item in value]
    return value


@cache
def _dataclass_decoder(cls: Any) -> _Decoder:
    hints = get_type_hints(cls)
    members = [
        (
            field.name,
            _decoder(hints[field.name]),
            field.default is MISSING and field.default_factory is MISSING,
        )
        for field in fields(cls)
    ]

    def decoded(value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"{cls.__name__}: expected an object, got {type(value).__name__}")
        arguments = {}
        for name, member, required in members:
            if name in value:
                try:
                    arguments[name] = member(value[name])
                except ValueError as error:
                    error.add_note(f"in field {name!r} of {cls.__name__}")
                    raise
            elif required:
                raise ValueError(f"{cls.__name__}: field {name!r} is missing")
        return cls(**arguments)

    return decoded


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _decoder(hint: Any) -> _Decoder:
    origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return _dataclass_decoder(hint)
    if origin in (Union, types.UnionType):
        return _optional(_decoder(next(item for item in arguments if item is not types.NoneType)))
    if origin is tuple:
        return _sequence(_decoder(arguments[0]))
    if hint is Any:
        return lambda value: value
    if hint is float:
        return _instance((int, float))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _instance((dict,))
    return _instance((hint,))


def _optional(member: _Decoder) -> _Decoder:
    return lambda value: None if value is None else member(value)


def _sequence(member: _Decoder) -> _Decoder:
    def decoded(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"expected a list, got {type(value).__name__}")
        return tuple(member(item) for item in value)

    return decoded


def _instance(accepted: tuple[type, ...]) -> _Decoder:
    def decoded(value: Any) -> Any:
        if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
            raise ValueError(f"expected {accepted[-1].__name__}, got {type(value).__name__}")
        return value

    return decoded
