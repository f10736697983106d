"""Addresses from another plugin, where the network configuration names one in ``ipam``.

It is run like this plugin was, with the same environment and configuration. Only addresses (and DNS) of its
result count: an endpoint's gateway and routes are the datapath's.

https://www.cni.dev/docs/spec/#section-4-plugin-delegation
"""

from __future__ import annotations

import os

from kinety.cni.error import (
    AGENT_FAILED,
    INCOMPATIBLE_VERSION,
    INVALID_CONFIGURATION,
    UNSUPPORTED_FIELD,
    CniError,
)
from kinety.cni.notation import read, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kinety.cni.call import Call

_OF_1_1_0 = ("STATUS", "GC")


def check(configuration: Mapping[str, Any]) -> None:
    """Raises CniError when ``ipam`` says something and names no plugin."""
    found = configuration.get("ipam")
    if found and _type(configuration) is None:
        message = f"unsupported field ipam with the value {found!r}"
        raise CniError(UNSUPPORTED_FIELD, message, "it needs a type, the name of a plugin in CNI_PATH")


def delegate(call: Call, command: str) -> Mapping[str, Any]:
    """What the other plugin answers; nothing when there is none. Raises CniError, the other plugin's too."""
    name = _type(call.configuration)
    if name is None:
        return {}
    if command in _OF_1_1_0:
        # One that knows neither says anything but that: the environment of these has no container.
        _, known = _run(call, name, "VERSION")
        if call.version not in known.get("supportedVersions", ()):
            raise _too_old(call, name, f"it supports {', '.join(known.get('supportedVersions', ()))}")
    status, said = _run(call, name, command)
    if not status:
        return said
    code, msg, details = said.get("code", AGENT_FAILED), said.get("msg", ""), said.get("details", "")
    if code == INCOMPATIBLE_VERSION:
        raise _too_old(call, name, f"{msg}: {details}" if details else msg)
    raise CniError(code, f"IPAM plugin {name}: {msg or f'exit status {status}'}", details)


def release(call: Call) -> None:
    """Have the other plugin take its addresses back. Raises CniError, the other plugin's too.

    One that does not know this version of the specification has given none.
    """
    try:
        delegate(call, "DEL")
    except CniError as failed:
        if failed.code != INCOMPATIBLE_VERSION:
            raise


def _run(call: Call, name: str, command: str) -> tuple[int, dict[str, Any]]:
    """Exit status and answer. Raises CniError where there is no such plugin, or no such answer."""
    import subprocess

    done = subprocess.run(
        [_executable(name, call.environment.get("CNI_PATH", ""))],
        input=write(call.configuration).encode(),
        env={**call.environment, "CNI_COMMAND": command},
        stdout=subprocess.PIPE,
        check=False,
    )
    try:
        said = read(done.stdout) if done.stdout.strip() else {}
    except ValueError as error:
        raise CniError(AGENT_FAILED, f"IPAM plugin {name} answered no JSON", str(error)) from error
    if not isinstance(said, dict):
        raise CniError(AGENT_FAILED, f"IPAM plugin {name} answered no JSON object")
    return done.returncode, said


def _too_old(call: Call, name: str, details: str) -> CniError:
    message = f"IPAM plugin {name} does not support CNI version {call.version}"
    return CniError(INCOMPATIBLE_VERSION, message, details)


def addresses_of(result: Mapping[str, Any]) -> list[str]:
    """The addresses in a result of any version, without the lengths of their prefixes."""
    early = [result[key]["ip"] for key in ("ip4", "ip6") if result.get(key)]
    found = [*early, *(each["address"] for each in result.get("ips") or ())]
    return [each.partition("/")[0] for each in found]


def _type(configuration: Mapping[str, Any]) -> str | None:
    found = configuration.get("ipam")
    name = found.get("type") if isinstance(found, dict) else None
    return name if isinstance(name, str) and name and "/" not in name else None


def _executable(name: str, path: str) -> str:
    for directory in path.split(":"):
        found = os.path.join(directory, name)
        if directory and os.path.isfile(found) and os.access(found, os.X_OK):
            return found
    raise CniError(INVALID_CONFIGURATION, f"IPAM plugin {name} is in no directory of CNI_PATH ({path})")
