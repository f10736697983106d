"""What a runtime asks: a command and parameters in the environment, the network on standard input.

https://www.cni.dev/docs/spec/#section-2-execution-protocol
"""

from __future__ import annotations

from kinety.cni.error import (
    INVALID_CONFIGURATION,
    INVALID_ENVIRONMENT,
    IO_FAILURE,
    NOT_DECODED,
    CniError,
)
from kinety.cni.notation import read
from kinety.cni.version import UNSAID, require

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, BinaryIO

_REQUIRED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "STATUS": (),
    "GC": (),
    "VERSION": (),
}
_NAME = "a letter or digit, then letters, digits, '_', '.' and '-'"
_INTERFACE = "up to 15 characters without white space, '/' and ':'"
_LONGEST_INTERFACE, _LONGEST_CONTAINER = 15, 200


class Call:
    """One call of the plugin. Parameters that its command does not need may be empty."""

    __slots__ = (
        "arguments",
        "command",
        "configuration",
        "container",
        "environment",
        "interface",
        "netns",
        "network",
        "version",
    )

    def __init__(
        self, environment: Mapping[str, str], configuration: Mapping[str, Any], version: str
    ) -> None:
        """Raises CniError for what is missing or wrong."""
        self.command = command(environment)
        self.environment = environment
        self.configuration = configuration
        #: The version of the specification that the answer is to have.
        self.version = version
        require(version, self.command)
        _check_environment(self.command, environment)
        self.container = environment.get("CNI_CONTAINERID", "")
        self.interface = environment.get("CNI_IFNAME", "")
        self.netns = environment.get("CNI_NETNS", "")
        #: Of ``CNI_ARGS``. A DEL must not fail of them.
        self.arguments = _arguments(environment.get("CNI_ARGS", "")) if self.command == "ADD" else {}
        #: The network's name. A DEL goes by container and interface.
        self.network = "" if self.command == "DEL" else _network(configuration)


def command(environment: Mapping[str, str]) -> str:
    """What is to be done. Raises CniError."""
    asked = environment.get("CNI_COMMAND", "")
    if asked not in _REQUIRED:
        what = (
            f"CNI_COMMAND {asked!r} is none of {', '.join(_REQUIRED)}" if asked else "CNI_COMMAND is missing"
        )
        raise CniError(INVALID_ENVIRONMENT, what)
    return asked


def read_configuration(stream: BinaryIO, *, optional: bool = False) -> dict[str, Any]:
    """The network configuration; empty where it is optional and not given. Raises CniError."""
    try:
        data = stream.read()
    except OSError as error:
        raise CniError(IO_FAILURE, "cannot read the network configuration", str(error)) from error
    if optional and not data.strip():
        return {}
    try:
        found = read(data)
    except ValueError as error:
        raise CniError(NOT_DECODED, "the network configuration is no JSON", str(error)) from error
    except RecursionError as error:
        raise CniError(NOT_DECODED, "the network configuration is nested too deeply") from error
    if not isinstance(found, dict):
        raise CniError(NOT_DECODED, "the network configuration is no JSON object")
    return found


def version_of(configuration: Mapping[str, Any]) -> str:
    """The version of the specification that a configuration says it is of. Raises CniError."""
    version = configuration.get("cniVersion") or UNSAID
    if not isinstance(version, str):
        raise CniError(NOT_DECODED, f"cniVersion is no string but {version!r}")
    return version


def _check_environment(command: str, environment: Mapping[str, str]) -> None:
    missing = [name for name in _REQUIRED[command] if not environment.get(name)]
    if missing:
        raise CniError(INVALID_ENVIRONMENT, f"{', '.join(missing)} missing in the environment of {command}")
    if not _REQUIRED[command]:
        return
    container, interface = environment["CNI_CONTAINERID"], environment["CNI_IFNAME"]
    if not _is_name(container):
        raise CniError(INVALID_ENVIRONMENT, f"CNI_CONTAINERID {container!r} is not {_NAME}")
    if len(container) > _LONGEST_CONTAINER:
        raise CniError(INVALID_ENVIRONMENT, f"CNI_CONTAINERID has more than {_LONGEST_CONTAINER} characters")
    if not _is_interface(interface):
        raise CniError(INVALID_ENVIRONMENT, f"CNI_IFNAME {interface!r} is not {_INTERFACE}")


def _is_name(text: str) -> bool:
    return text.isascii() and text[:1].isalnum() and all(each.isalnum() or each in "_.-" for each in text)


def _is_interface(text: str) -> bool:
    allowed = not any(each.isspace() or each in "/:\0" for each in text)
    return allowed and text not in ("", ".", "..") and len(text) <= _LONGEST_INTERFACE


def _arguments(text: str) -> dict[str, str]:
    found = {}
    for pair in text.split(";"):
        key, equals, value = pair.partition("=")
        if pair and not equals:
            raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS: {pair!r} is no KEY=VALUE; ';' is between them")
        if equals:
            found[key] = value
    return found


def _network(configuration: Mapping[str, Any]) -> str:
    name = configuration.get("name")
    if not name:
        raise CniError(INVALID_CONFIGURATION, "the network configuration has no name")
    if not isinstance(name, str) or not _is_name(name):
        raise CniError(INVALID_CONFIGURATION, f"the network's name {name!r} is not {_NAME}")
    return name
