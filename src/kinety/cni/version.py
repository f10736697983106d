"""Versions of the specification, oldest first, and since when there is what."""

from kinety.cni.error import INCOMPATIBLE_VERSION, CniError

SUPPORTED = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST = SUPPORTED[-1]
#: A network configuration that does not say is of the first.
UNSAID = SUPPORTED[0]
_COMMANDS = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}


def since(version: str, first: str) -> bool:
    """Whether a version is ``first`` or later."""
    return SUPPORTED.index(version) >= SUPPORTED.index(first)


def require(version: str, command: str) -> None:
    """Raises CniError for a version that is not supported, or that does not have the command yet."""
    if version not in SUPPORTED:
        details = f"the network configuration is of {version!r}, this plugin supports {', '.join(SUPPORTED)}"
        raise CniError(INCOMPATIBLE_VERSION, "incompatible CNI version", details)
    first = _COMMANDS.get(command, UNSAID)
    if not since(version, first):
        details = f"the network configuration is of {version}; there is {command} since {first}"
        raise CniError(INCOMPATIBLE_VERSION, f"the network's CNI version has no {command}", details)
