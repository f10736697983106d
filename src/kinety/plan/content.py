"""What rules ask of content, taken together: any of several rules lets it through."""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple, TypeVar

from kinety.model.layer7 import Layer7, Layer7Id

_Part = TypeVar("_Part")


class Content(NamedTuple):
    """A set of rules about content under its address."""

    id: Layer7Id
    layer7: Layer7


@lru_cache(maxsize=4096)
def united(parts: tuple[Layer7, ...]) -> Content:
    """What any of the parts lets through. The order of parts, and repetition, make no difference."""
    whole = Layer7(
        tuple(_sorted(http for part in parts for http in part.http)),
        tuple(_sorted(name for part in parts for name in part.dns)),
        tuple(_sorted(name for part in parts for name in part.server_names)),
        tuple(sorted({policy for part in parts for policy in part.policies})),
    )
    return Content(Layer7Id(blake2b(repr(whole).encode(), digest_size=16).hexdigest()), whole)


def _sorted(parts: Iterable[_Part]) -> list[_Part]:
    return sorted(set(parts), key=repr)
