"""Surroundings: objects that policies refer to, CiliumCIDRGroup, Service, Endpoints and EndpointSlice."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kinety.testing.oracle.address import in_cidr
from kinety.testing.oracle.party import Party, values
from kinety.testing.oracle.selector import matches_plainly

Document = Mapping[str, Any]

_NAMESPACE = "io.kubernetes.pod.namespace"
_SERVICE_OF_SLICE = "kubernetes.io/service-name"


class Surroundings:
    """The objects among some documents."""

    def __init__(self, documents: Iterable[Document]) -> None:
        found = list(documents)
        self._groups = [each for each in found if each["kind"] == "CiliumCIDRGroup"]
        self._services = [each for each in found if each["kind"] == "Service"]
        self._endpoints = [each for each in found if each["kind"] in ("Endpoints", "EndpointSlice")]

    def in_group(self, peer: Party, item: Mapping[str, Any]) -> bool:
        """Whether a peer is in a group that an item of a CIDRSet names, and in no exception."""
        return any(
            in_cidr(peer, prefix, item.get("except") or ())
            for group in self._groups
            if _is_group(group, item)
            for prefix in group["spec"]["externalCIDRs"]
        )

    def in_service(self, peer: Party, item: Mapping[str, Any], namespace: str) -> bool:
        """Whether a peer serves a service that an item of toServices names.

        ``namespace`` is where services are looked for that are named without one; "": anywhere.
        """
        return any(
            self._serves(peer, service) for service in self._services if _is_service(service, item, namespace)
        )

    def _serves(self, peer: Party, service: Document) -> bool:
        """The pods that a service selects; without a selector, the addresses that it is given."""
        wanted = service["spec"].get("selector")
        if not wanted:
            return any(in_cidr(peer, address) for address in self._addresses(service))
        if peer.kind != "endpoint" or _namespace(service) not in values(peer.labels, "k8s", _NAMESPACE):
            return False
        return all(value in values(peer.labels, "k8s", key) for key, value in wanted.items())

    def _addresses(self, service: Document) -> Iterator[str]:
        name = service["metadata"]["name"]
        for each in self._endpoints:
            metadata = each["metadata"]
            if _namespace(each) != _namespace(service):
                continue
            if each["kind"] == "EndpointSlice":
                if (metadata.get("labels") or {}).get(_SERVICE_OF_SLICE) == name:
                    for endpoint in each["endpoints"]:
                        yield from endpoint["addresses"]
            elif metadata["name"] == name:
                for subset in each.get("subsets") or ():
                    for address in subset.get("addresses") or ():
                        yield address["ip"]


def _namespace(document: Document) -> str:
    return str(document["metadata"].get("namespace") or "default")


def _labels(document: Document) -> Mapping[str, str]:
    return document["metadata"].get("labels") or {}


def _is_group(group: Document, item: Mapping[str, Any]) -> bool:
    if "cidrGroupRef" in item:
        return bool(group["metadata"]["name"] == item["cidrGroupRef"])
    return matches_plainly(item["cidrGroupSelector"], _labels(group))


def _is_service(service: Document, item: Mapping[str, Any], namespace: str) -> bool:
    named = item.get("k8sService") or item["k8sServiceSelector"]
    if (named.get("namespace") or namespace) not in ("", _namespace(service)):
        return False
    if "k8sService" in item:
        return bool(service["metadata"]["name"] == named["serviceName"])
    return matches_plainly(named["selector"], _labels(service))
