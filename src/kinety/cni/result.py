"""The result of an ADD, in the shape of each version, and what a CHECK holds against it.

=============  ===================================================================
version        shape
=============  ===================================================================
0.1.0, 0.2.0   ``ip4`` and ``ip6``, with one address and its routes each
0.3.0 – 0.4.0  ``interfaces``, ``ips`` (each with its ``version``) and ``routes``
1.0.0          the same without ``version``
1.1.0          the same, and ``mtu`` of interfaces
=============  ===================================================================

An endpoint's address is alone on its link (/32, /128), and its gateway is reached on the link. The first
interface of a container has the default routes, and only its result tells of them.
"""

from __future__ import annotations

from kinety.cni.version import since

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_FAMILIES = (("ipv4", "4", "/32", "0.0.0.0/0"), ("ipv6", "6", "/128", "::/0"))


def result(
    version: str,
    endpoint: Mapping[str, Any],
    netns: str,
    dns: Mapping[str, Any],
    previous: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What an ADD answers. ``previous`` is the result of the plugins before this one; ours is added to it.

    ``dns`` is what the network says. Without any it is what those before said, and then the agent's operator.
    """
    told = dict(dns) or (previous or {}).get("dns") or _dns_of(endpoint)
    if not since(version, "0.3.0"):
        return _early(version, endpoint, told)
    found: dict[str, list[Any]] = {"interfaces": [], "ips": [], "routes": []}
    for key in found:
        found[key] += (previous or {}).get(key) or []
    inside = len(found["interfaces"]) + 1
    found["interfaces"] += _interfaces(version, endpoint, netns)
    for address, family, bits, anywhere, gateway in _addresses(endpoint):
        said = {} if since(version, "1.0.0") else {"version": family}
        found["ips"].append(said | {"address": address + bits, "gateway": gateway, "interface": inside})
        if anywhere in endpoint["default_routes"]:
            found["routes"].append({"dst": anywhere, "gw": gateway})
    return {"cniVersion": version, **found, "dns": told}


def differences(previous: Mapping[str, Any], state: Mapping[str, Any], interface: str) -> list[str]:
    """What of the result of an ADD is no longer so: a sentence each. ``state`` is the agent's, of now.

    Plugins after this one may have added to the result, and given the container other routes.
    """
    endpoint, problems = state["endpoint"], list(state["problems"])
    interfaces = previous.get("interfaces") or []
    ours = [at for at, each in enumerate(interfaces) if each.get("name") == interface and each.get("sandbox")]
    if not ours:
        return [*problems, f"prevResult has no interface {interface} in a sandbox"]
    mac = interfaces[ours[0]].get("mac")
    if mac and mac.lower() != endpoint["mac"]:
        problems.append(f"{interface} has the MAC {endpoint['mac']}, and the result of ADD has {mac}")
    had = {
        each["address"].partition("/")[0]
        for each in previous.get("ips") or ()
        if each.get("interface") in ours
    }
    for address in sorted(had - {endpoint["ipv4"], endpoint["ipv6"]}):
        problems.append(f"the result of ADD has the address {address}, which {interface} does not have")
    for route in previous.get("routes") or ():
        lost = route.get("dst") not in state["default_routes"]
        if lost and route.get("gw") in endpoint["gateways"]:
            problems.append(f"the route to {route['dst']} by {route['gw']} is gone")
    return problems


def _early(version: str, endpoint: Mapping[str, Any], dns: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"cniVersion": version}
    for address, family, bits, anywhere, gateway in _addresses(endpoint):
        routes = [{"dst": anywhere, "gw": gateway}] if anywhere in endpoint["default_routes"] else []
        found[f"ip{family}"] = {"ip": address + bits, "gateway": gateway, "routes": routes}
    return found | {"dns": dns}


def _interfaces(version: str, endpoint: Mapping[str, Any], netns: str) -> list[dict[str, Any]]:
    mtu = {"mtu": endpoint["mtu"]} if since(version, "1.1.0") else {}
    return [
        {"name": endpoint["host_interface"], "mac": endpoint["host_mac"], **mtu},
        {"name": endpoint["interface"], "mac": endpoint["mac"], **mtu, "sandbox": netns},
    ]


def _dns_of(endpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What the agent's operator says, where he does; its fields are called as here."""
    return {key: value for key, value in (endpoint.get("dns") or {}).items() if value}


def _addresses(endpoint: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Address, family, length of its prefix, the default route's destination and gateway, of each family."""
    there = [family for family in _FAMILIES if endpoint[family[0]]]
    return [
        (endpoint[key], family, bits, anywhere, gateway)
        for (key, family, bits, anywhere), gateway in zip(there, endpoint["gateways"], strict=True)
    ]
