"""The smallest world in which something still goes wrong, for a person to read."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tests.judges.worlds import World

#: Keys that a policy cannot do without, or that say which policy it is.
_KEPT = frozenset({"apiVersion", "kind", "metadata", "endpointSelector"})


def smallest(scene: World, fails: Callable[[World], bool], attempts: int = 250) -> World:
    """Take out of a world that fails whatever it fails without, one thing at a time.

    ``fails`` is asked of worlds whose documents may be invalid. Gives up after some ``attempts``.
    """
    left = attempts
    candidates = _smaller(scene)
    while left and (candidate := next(candidates, None)) is not None:
        left -= 1
        if fails(candidate):
            scene, candidates = candidate, _smaller(candidate)
    return scene


def _smaller(scene: World) -> Iterator[World]:
    """Worlds with one thing less, those with much less first."""
    if scene.objects or scene.names or scene.elsewhere:
        yield replace(scene, objects=(), names=(), elsewhere=())
    for index in range(len(scene.documents)):
        yield replace(scene, documents=_without(scene.documents, index))
    for index in range(len(scene.endpoints)):
        yield replace(scene, endpoints=_without(scene.endpoints, index))
    for index in range(len(scene.objects)):
        yield replace(scene, objects=_without(scene.objects, index))
    for index in range(len(scene.names)):
        yield replace(scene, names=_without(scene.names, index))
    if scene.node:
        yield replace(scene, node=frozenset())
    for index in range(len(scene.elsewhere)):
        yield replace(scene, elsewhere=_without(scene.elsewhere, index))
    for index, document in enumerate(scene.documents):
        for fewer in _reduced(document):
            yield replace(scene, documents=(*scene.documents[:index], fewer, *scene.documents[index + 1 :]))


def _reduced(value: Any) -> Iterator[Any]:
    """A JSON value less one of its parts, or with one of its parts reduced."""
    if isinstance(value, dict):
        for key in value:
            if key not in _KEPT:
                yield {each: inner for each, inner in value.items() if each != key}
        for key, inner in value.items():
            if key != "metadata":
                yield from ({**value, key: fewer} for fewer in _reduced(inner))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield [*value[:index], *value[index + 1 :]]
            yield from ([*value[:index], fewer, *value[index + 1 :]] for fewer in _reduced(inner))


def _without(values: tuple[Any, ...], index: int) -> tuple[Any, ...]:
    return (*values[:index], *values[index + 1 :])
