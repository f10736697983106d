"""What a network configuration says to this plugin, and what a runtime adds to it.

https://www.cni.dev/docs/spec/#section-1-network-configuration-format,
https://www.cni.dev/docs/conventions/
"""

from __future__ import annotations

from kinety.cni import ipam
from kinety.cni.agent import DEFAULT_SOCKET
from kinety.cni.error import INVALID_CONFIGURATION, UNSUPPORTED_FIELD, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kinety.cni.call import Call

DEFAULT_STATE_DIR = "/var/lib/kinety"
#: What containerd passes a pod's annotations by, and the one that has labels.
ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
LABELS_ANNOTATION = "kinety.io/labels"

_OWN = {"socket": str, "stateDir": str, "labels": dict, "mtu": int, "dns": dict}
_OF_CNI = {"cniVersion", "cniVersions", "name", "type", "capabilities", "args", "runtimeConfig", "prevResult"}
#: The agent decides about the node's addresses, for all networks together (`kinety agent --masquerade`).
_LEFT_TO_THE_AGENT = {"ipMasq"}
#: What a runtime may ask for at run time and nobody here would do.
_REFUSED = ("ipRanges", "infinibandGUID", "deviceID")
#: A limit of the agent's API by its name in the specification's conventions.
_BANDWIDTH = {
    "egress_rate": "egressRate",
    "egress_burst": "egressBurst",
    "ingress_rate": "ingressRate",
    "ingress_burst": "ingressBurst",
}


def socket_of(configuration: Mapping[str, Any]) -> str:
    """Where the agent listens. Raises CniError."""
    return _path(configuration, "socket", DEFAULT_SOCKET)


def state_dir_of(configuration: Mapping[str, Any]) -> str:
    """Where the agent keeps its state. Raises CniError."""
    return _path(configuration, "stateDir", DEFAULT_STATE_DIR)


def check(configuration: Mapping[str, Any]) -> None:
    """Raises CniError for a field that is unknown, wrong, or asks for what is not done."""
    for key, value in configuration.items():
        if key in _OWN:
            if not isinstance(value, _OWN[key]) or isinstance(value, bool):
                raise CniError(INVALID_CONFIGURATION, f"{key} {value!r} is no {_JSON[_OWN[key]]}")
        elif key == "ipam":
            ipam.check(configuration)
        elif key not in _OF_CNI | _LEFT_TO_THE_AGENT and not key.startswith("cni.dev/"):
            raise _unsupported(key, value, f"known are {', '.join(_OWN)}")
    asked = _mapping(configuration, "runtimeConfig")
    for key in _REFUSED:
        if asked.get(key):
            raise _unsupported(f"runtimeConfig.{key}", asked[key], "this plugin does not do that")


def endpoint_request(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """The attach request of an ADD, as the agent takes it. ``given`` is what an IPAM plugin said.

    Raises CniError.
    """
    arguments = call.arguments
    name = arguments.get("K8S_POD_NAME") or call.container
    request = {
        "name": name if call.interface == "eth0" else f"{name}-{call.interface}",
        "namespace": arguments.get("K8S_POD_NAMESPACE") or "default",
        "netns": call.netns,
        "interface": call.interface,
        "labels": [f"{key}={value}" if value else key for key, value in _labels(call).items()],
        "addresses": ipam.addresses_of(given) or [each.partition("/")[0] for each in _addresses(call)],
        "attachment": {"container": call.container, "network": call.network},
    }
    wishes = {
        "mtu": call.configuration.get("mtu"),
        "host_ports": _host_ports(call),
        "mac": _mac(call),
        "bandwidth": _bandwidth(call),
    }
    return request | {key: value for key, value in wishes.items() if value}


def dns(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """Name servers and search domains for the result: the runtime's, or else the configuration's."""
    asked = _mapping(_mapping(configuration, "runtimeConfig"), "dns")
    given = {
        "nameservers": asked.get("servers"),
        "search": asked.get("searches"),
        "options": asked.get("options"),
    }
    chosen = {key: value for key, value in given.items() if value}
    return chosen or _mapping(configuration, "dns")


def valid_attachments(configuration: Mapping[str, Any]) -> set[tuple[Any, Any]]:
    """Container and interface of what a runtime still knows. Raises CniError.

    Some runtimes send them as ``cni.dev/attachments``, which the specification once had by mistake.
    """
    key = "cni.dev/valid-attachments"
    given = configuration.get(key, configuration.get("cni.dev/attachments"))
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise CniError(
            INVALID_CONFIGURATION, f"GC needs {key}, a list of objects with containerID and ifname"
        )
    return {(each.get("containerID"), each.get("ifname")) for each in given}


def _labels(call: Call) -> dict[str, str]:
    """Labels by key, of every place that may say some; the later places win."""
    configuration, asked = call.configuration, _mapping(call.configuration, "runtimeConfig")
    found: dict[str, str] = {}
    found |= _mapping(configuration, "labels")
    found |= _mapping(asked, "labels")
    found |= _read_labels(_mapping(asked, ANNOTATIONS).get(LABELS_ANNOTATION, ""))
    given = _mapping(configuration, "args")
    found |= _mapping(given, "labels")
    for each in _mapping(given, "cni").get("labels") or ():
        if not isinstance(each, dict) or "key" not in each:
            raise CniError(INVALID_CONFIGURATION, "args.cni.labels is no list of objects with key and value")
        found[each["key"]] = each.get("value", "")
    found |= _read_labels(call.arguments.get("KINETY_LABELS", ""))
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise CniError(
                INVALID_CONFIGURATION, f"label {key!r} has the value {value!r}, which is no string"
            )
    return found


def _read_labels(text: str) -> dict[str, str]:
    """Labels of ``key=value,key=value``."""
    pairs = (each.strip().partition("=") for each in text.split(",") if each.strip())
    return {key: value for key, _, value in pairs}


def _addresses(call: Call) -> list[str]:
    """Addresses that a runtime wants, with or without a prefix length; none: the agent chooses.

    `podman network reload` asks twice for an address that was asked for before.
    """
    asked = _mapping(call.configuration, "runtimeConfig").get("ips")
    conventional = _mapping(_mapping(call.configuration, "args"), "cni").get("ips")
    said = [each for each in call.arguments.get("IP", "").split(",") if each]
    found = said or conventional or asked or []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise CniError(INVALID_CONFIGURATION, f"ips {found!r} is no list of addresses")
    return list(dict.fromkeys(found))


def _host_ports(call: Call) -> list[str]:
    """Ports of the node that a runtime wants to lead to the container's, as the agent reads them."""
    asked = _mapping(call.configuration, "runtimeConfig").get("portMappings") or []
    if not isinstance(asked, list) or not all(isinstance(each, dict) for each in asked):
        raise CniError(INVALID_CONFIGURATION, f"portMappings {asked!r} is no list of objects")
    found = []
    for each in asked:
        ports = each.get("hostPort"), each.get("containerPort")
        protocol, address = each.get("protocol") or "tcp", each.get("hostIP") or ""
        if not all(type(port) is int and 0 < port < 65536 for port in ports):
            what = f"portMappings {each!r} needs a hostPort and a containerPort, each 1 to 65535"
            raise CniError(INVALID_CONFIGURATION, what)
        if not isinstance(protocol, str) or not isinstance(address, str):
            raise CniError(INVALID_CONFIGURATION, f"portMappings {each!r}: protocol and hostIP are strings")
        where = f"[{address}]:" if ":" in address else address and f"{address}:"
        found.append(f"{where}{ports[0]}:{ports[1]}/{protocol}")
    return found


def _bandwidth(call: Call) -> dict[str, int]:
    """What a runtime wants the container to have, in bits; else what the pod's annotations say."""
    runtime = _mapping(call.configuration, "runtimeConfig")
    asked, found = _mapping(runtime, "bandwidth"), {}
    for name, field in _BANDWIDTH.items():
        value = asked.get(field)
        if value is not None and (type(value) is not int or value < 0):
            raise CniError(INVALID_CONFIGURATION, f"bandwidth.{field} {value!r} is no number of bits")
        found[name] = value or 0
    for way in ("egress", "ingress"):
        said = _mapping(runtime, ANNOTATIONS).get(f"kubernetes.io/{way}-bandwidth")
        if said and not asked:
            from kinety.model.quantity import parse_quantity

            try:
                found[f"{way}_rate"] = parse_quantity(said)
            except ValueError as error:
                raise CniError(INVALID_CONFIGURATION, f"kubernetes.io/{way}-bandwidth: {error}") from error
    return {name: value for name, value in found.items() if value}


def _mac(call: Call) -> str | None:
    """The MAC address that a runtime wants. https://www.cni.dev/docs/conventions/#cni_args"""
    asked = _mapping(call.configuration, "runtimeConfig").get("mac")
    conventional = _mapping(_mapping(call.configuration, "args"), "cni").get("mac")
    found = asked or conventional or call.arguments.get("MAC")
    if found is not None and not isinstance(found, str):
        raise CniError(INVALID_CONFIGURATION, f"mac {found!r} is no string")
    return found


def _path(configuration: Mapping[str, Any], key: str, default: str) -> str:
    found = configuration.get(key) or default
    if not isinstance(found, str):
        raise CniError(INVALID_CONFIGURATION, f"{key} {found!r} is no string")
    return found


def _mapping(value: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object that a field holds; an empty one when it is not there. Raises CniError for anything else."""
    found = value.get(key) or {}
    if not isinstance(found, dict):
        raise CniError(INVALID_CONFIGURATION, f"{key} {found!r} is no object")
    return found


def _unsupported(key: str, value: object, why: str) -> CniError:
    return CniError(UNSUPPORTED_FIELD, f"unsupported field {key} with the value {value!r}", why)


_JSON = {str: "string", dict: "object", int: "integer"}
