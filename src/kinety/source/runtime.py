"""What the agent wants to know of a container runtime."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from kinety.model.label import CONTAINER

#: How long a runtime may take to answer, in seconds. A container's start waits for it.
PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Container:
    """What a runtime knows of a container.

    ``id`` is what CNI calls it (``CNI_CONTAINERID``). ``labels`` are what people gave it, without what the
    runtime keeps its books with; ``source`` is theirs as Kinety's labels, `K8S` for those of a pod.
    """

    id: str
    name: str
    labels: Mapping[str, str]
    source: str = CONTAINER


@dataclass(frozen=True, slots=True)
class Removed:
    """A container that its runtime has removed. ``id`` is what CNI called it; no other will be called so."""

    id: str


#: What a runtime tells on its own.
News = Container | Removed


class Runtime(Protocol):
    """One container runtime of this node."""

    @property
    def name(self) -> str:
        """What kind of runtime it is, as the operator writes it."""
        ...

    @property
    def address(self) -> str:
        """Where it is asked."""
        ...

    @property
    def problem(self) -> str | None:
        """Why changes of labels are not followed just now; None while they are."""
        ...

    async def find(self, container: str) -> Container | None:
        """The container that CNI calls so; None when it is none of this runtime's.

        Answers within `PATIENCE`, also while the runtime waits for the plugin. Raises OSError when the
        runtime does not answer.
        """
        ...

    def watch(self) -> AsyncIterator[News]:
        """Every container whose labels may have changed, as it is when it is told; or that it is gone, where
        the runtime may have removed it without calling the plugin.

        First, and whenever the runtime could be reached again, every container that it knows. Does not end.
        """
        ...
