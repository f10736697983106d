"""A container runtime from its kind. Client libraries are imported only for those that are wanted."""

from collections.abc import Callable, Mapping

from kinety.source.runtime import Runtime


def runtime(kind: str, address: str) -> Runtime:
    """The runtime of a kind, by its socket or program. Raises ValueError when its library is not there."""
    try:
        return _KINDS[kind](address)
    except ImportError as error:
        message = f"--runtime {kind} needs the library {error.name}: install kinety[{kind}]"
        raise ValueError(message) from error


def _containerd(address: str) -> Runtime:
    from kinety.source.containerd import Containerd

    return Containerd(address)


def _podman(address: str) -> Runtime:
    from kinety.source.podman import Podman

    return Podman(address)


_KINDS: Mapping[str, Callable[[str], Runtime]] = {"containerd": _containerd, "podman": _podman}
