"""The classes that travel: frozen, and the same after a journey as JSON."""

import json
from collections.abc import Iterator
from dataclasses import MISSING, FrozenInstanceError, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from pydantic import TypeAdapter

from kinety.api import insight, overview, types
from kinety.api.decode import decode, encode

CLASSES = [
    value
    for value in {**vars(insight), **vars(types)}.values()
    if is_dataclass(value) and isinstance(value, type)
]


def example(cls: Any) -> Any:
    """An instance with a value in every field, none of them a default."""
    hints = get_type_hints(cls)
    return cls(**{field.name: value_for(hints[field.name]) for field in fields(cls)})


def value_for(hint: Any) -> Any:
    if is_dataclass(hint):
        return example(hint)
    members = [item for item in get_args(hint) if item not in (type(None), Ellipsis)]
    if get_origin(hint) is tuple:
        return (value_for(members[0]), value_for(members[0]))
    if get_origin(hint) not in (None, *MAPPINGS):
        return value_for(members[0])
    if get_origin(hint) in MAPPINGS:
        return {"ünï": "x"}
    return {str: "ünï \x01 \u2028", int: 2**53 + 1, float: 1.25, bool: True, Any: [1, None]}[hint]


MAPPINGS = [get_origin(get_type_hints(types.EndpointRequest)["namespace_labels"])]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_journey_changes_nothing(cls: Any) -> None:
    """What the client writes the server reads, and what the server writes the client reads."""
    made = example(cls)
    assert TypeAdapter(cls).validate_json(json.dumps(encode(made)), strict=True) == made
    assert decode(cls, json.loads(TypeAdapter(cls).dump_json(made))) == made


def required() -> Iterator[tuple[Any, str]]:
    for cls in CLASSES:
        for field in fields(cls):
            if field.default is MISSING and field.default_factory is MISSING:
                yield cls, field.name


@pytest.mark.parametrize(("cls", "name"), list(required()), ids=lambda item: getattr(item, "__name__", item))
def test_a_field_without_default_must_be_there(cls: Any, name: str) -> None:
    value = encode(example(cls))
    del value[name]
    with pytest.raises(ValueError, match=name):
        decode(cls, value)
    with pytest.raises(ValueError, match=name):
        TypeAdapter(cls).validate_python(value)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_values_are_frozen_and_small(cls: Any) -> None:
    made = example(cls)
    with pytest.raises(FrozenInstanceError):
        setattr(made, fields(cls)[0].name, None)
    assert not hasattr(made, "__dict__")


@pytest.mark.parametrize("cls", [types.EndpointRequest, types.Document, types.PolicyDocuments])
def test_a_request_with_an_unknown_field_is_refused(cls: Any) -> None:
    with pytest.raises(ValueError, match="colour"):
        TypeAdapter(cls).validate_python(encode(example(cls)) | {"colour": "red"})


def test_an_answer_of_a_newer_agent_can_be_read() -> None:
    made = example(overview.Pool)
    assert decode(overview.Pool, encode(made) | {"colour": "red"}) == made
