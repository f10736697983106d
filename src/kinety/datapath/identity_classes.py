"""Identity to class: the one map a new identity writes to."""

from collections.abc import Iterable, Mapping
from struct import Struct

from kinety.kernel.map import Map
from kinety.model.identity import ClassId, Identity

from .row_map import RowMap

_WORD = Struct("=I")


class IdentityClasses:
    """``identity_classes``, written in batches."""

    def __init__(self, identity_classes: Map) -> None:
        self._rows = RowMap(identity_classes)

    @property
    def writes(self) -> int:
        """Rows written or erased."""
        return self._rows.writes

    def update(self, classes: Mapping[Identity, ClassId]) -> None:
        """Put identities into classes."""
        self._rows.write(_packed(classes))

    def remove(self, identities: Iterable[Identity]) -> None:
        """Forget identities: they are class 0 from now on."""
        self._rows.erase(map(_WORD.pack, identities))

    def write_differences(self, classes: Mapping[Identity, ClassId]) -> frozenset[Identity]:
        """Write what is missing or different; returns identities that are too many, for ``remove``."""
        excess = self._rows.write_differences(_packed(classes))
        return frozenset(Identity(_WORD.unpack(key)[0]) for key in excess)


def _packed(classes: Mapping[Identity, ClassId]) -> dict[bytes, bytes]:
    return {_WORD.pack(identity): _WORD.pack(class_id) for identity, class_id in classes.items()}
