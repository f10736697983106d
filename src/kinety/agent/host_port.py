"""Which endpoint has which host ports: nobody gets one that another has."""

from collections.abc import Collection, Mapping

from kinety.agent.store import EndpointRecord
from kinety.agent.wishes import Wishes
from kinety.api.errors import refuse


class HostPortClaims:
    """Endpoints by protocol and port of the node.

    An index over all endpoints, which need not tell it when one goes: what it finds is looked at again.
    """

    def __init__(self, endpoints: Mapping[tuple[str, str], EndpointRecord]) -> None:
        """``endpoints`` is a live view, by namespace and name."""
        self._endpoints = endpoints
        self._names: dict[tuple[int, int], set[tuple[str, str]]] = {}
        for record in endpoints.values():
            self.add(record)

    def add(self, record: EndpointRecord) -> None:
        """An endpoint was made."""
        name = record.endpoint.namespace, record.endpoint.name
        for port in record.wishes.host_ports:
            key = port.protocol, port.port
            there = {each for each in self._names.get(key, ()) if self._has(each, key)}
            self._names[key] = there | {name}

    def require_free(self, wishes: Wishes, versions: Collection[int]) -> None:
        """Raises ApiError when another has one of the ports, or one cannot lead to these families."""
        for port in wishes.host_ports:
            if not any(port.serves(version) for version in versions):
                message = f"host port {port} is of a family that the endpoint has no address of"
                raise refuse(400, message, path="host_ports")
            for name in self._names.get((port.protocol, port.port), ()):
                record = self._endpoints.get(name)
                for other in record.wishes.host_ports if record else ():
                    if port.clashes(other):
                        message = f"host port {port} is taken: {other} leads to endpoint {'/'.join(name)}"
                        raise refuse(409, message, path="host_ports")

    def _has(self, name: tuple[str, str], key: tuple[int, int]) -> bool:
        record = self._endpoints.get(name)
        return record is not None and any(
            (each.protocol, each.port) == key for each in record.wishes.host_ports
        )
