"""Endpoints that container runtimes asked for, by container and interface, and how they are."""

import logging
from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path

from kinety.agent import view
from kinety.agent.control import Control
from kinety.agent.store import EndpointRecord
from kinety.api import departure, types
from kinety.api.errors import ApiError, refuse
from kinety.datapath.interface import Interface
from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.model.address import unpack_address
from kinety.model.endpoint import Endpoint

log = logging.getLogger(__name__)

_NOT_FOUND = 404
_ROUTES = (Path("/proc/thread-self/net/route"), Path("/proc/thread-self/net/ipv6_route"))
_ANYWHERE_IPV4, _ANYWHERE_IPV6 = "0" * 8, ["0" * 32, "00"]


class Attachments:
    """Endpoints by the container and the interface that they were made for.

    An index over all endpoints, which need not tell it when one goes: what it finds is looked at again.
    """

    def __init__(self, endpoints: Mapping[tuple[str, str], EndpointRecord], state_dir: Path) -> None:
        """``endpoints`` is a live view, by namespace and name.

        ``state_dir`` is where those are told of that ended while there was no agent.
        """
        self._endpoints = endpoints
        self._state_dir = state_dir
        #: Names of endpoints by container and interface.
        self._names: dict[str, dict[str, tuple[str, str]]] = {}
        self._index()

    def of(self, network: str | None) -> tuple[EndpointRecord, ...]:
        """Those of one network, or of all, in the order of their names."""
        return tuple(
            record
            for _, record in sorted(self._endpoints.items(), key=itemgetter(0))
            if record.attachment is not None and network in (None, record.attachment.network)
        )

    def add(self, record: EndpointRecord) -> None:
        """An endpoint was made; that the container's former one had to end is old news."""
        if record.attachment is None:
            return
        if len(self._names) > 2 * len(self._endpoints):
            self._index()
        self._enter(record)
        departure.forget(self._state_dir, record.attachment.container, record.interface)

    def find(self, container: str, interface: str) -> EndpointRecord:
        """The endpoint of a container's interface. Raises ApiError when there is none."""
        record = self._get(container, interface)
        if record is None:
            raise refuse(_NOT_FOUND, f"container {container} has no interface {interface} from here")
        return record

    def of_container(self, container: str) -> tuple[EndpointRecord, ...]:
        """Every endpoint of a container."""
        found = (self._get(container, interface) for interface in self._names.get(container, ()))
        return tuple(record for record in found if record is not None)

    def require_free(self, request: types.EndpointRequest) -> None:
        """Raises ApiError when the container has such an interface already."""
        if request.attachment is None:
            return
        container, interface = request.attachment.container, request.interface
        there = self._get(container, interface)
        if there is not None:
            message = f"container {container} has an interface {interface} already, endpoint {there.endpoint}"
            raise refuse(409, f"{message}; remove it first", path="attachment")

    def end_departed(self, detach: Callable[[str, str], None]) -> None:
        """Detach what runtimes gave up meanwhile. What cannot be detached now is tried at the next start."""
        for container, interface in departure.waiting(self._state_dir):
            try:
                detach(container, interface)
                log.info("container %s gave up its interface %s meanwhile", container, interface)
            except ApiError as error:
                if error.status != _NOT_FOUND:
                    log.error("interface %s of container %s: %s", interface, container, error)
                    continue
            except Exception:
                log.exception("could not take interface %s of container %s away", interface, container)
                continue
            departure.forget(self._state_dir, container, interface)

    def _get(self, container: str, interface: str) -> EndpointRecord | None:
        name = self._names.get(container, {}).get(interface)
        record = self._endpoints.get(name) if name is not None else None
        return record if record is not None and _key(record) == (container, interface) else None

    def _index(self) -> None:
        self._names = {}
        for record in self._endpoints.values():
            self._enter(record)

    def _enter(self, record: EndpointRecord) -> None:
        if record.attachment is not None:
            name = record.endpoint.namespace, record.endpoint.name
            self._names.setdefault(record.attachment.container, {})[record.interface] = name


def _key(record: EndpointRecord) -> tuple[str, str]:
    return record.attachment.container if record.attachment else "", record.interface


def state_of(control: Control, record: EndpointRecord) -> types.AttachmentState:
    """An endpoint, and what has become of its interface."""
    problems, routes = _look(record, control.datapath.interface(record.endpoint.id))
    if control.repair.pending:
        problems.append(f"the kernel does not hold the plan in force: {control.repair.error}")
    return types.AttachmentState(view.endpoint(control, record), tuple(problems), routes)


def _look(record: EndpointRecord, made: Interface | None) -> tuple[list[str], tuple[str, ...]]:
    name = record.interface
    if made is None:
        return [f"the node's end of {name} is gone"], ()
    try:
        with Namespace.open(record.netns) as namespace:
            if not namespace.is_known_as(record.netns_number):
                return [f"{record.netns} is another network namespace than it was"], ()
            return _compare(record.endpoint, name, made, namespace), default_routes(namespace, name)
    except (OSError, ValueError) as error:
        return [f"{record.netns} cannot be looked into: {error}"], ()


def _compare(endpoint: Endpoint, name: str, made: Interface, namespace: Namespace) -> list[str]:
    with Netlink(namespace) as inside:
        link = inside.link_named(name)
        if link is None:
            return [f"there is no interface {name} in the network namespace"]
        there = {each.address for each in inside.addresses() if each.index == link.index}
    problems = []
    if not link.up:
        problems.append(f"{name} is down")
    if link.mac != made.container_mac:
        problems.append(f"{name} has the MAC {link.mac.hex(':')} instead of {made.container_mac.hex(':')}")
    for packed in (endpoint.ipv4, endpoint.ipv6):
        if packed is not None and (address := unpack_address(packed)) not in there:
            problems.append(f"{name} has lost its address {address}")
    return problems


def default_routes(namespace: Namespace, name: str) -> tuple[str, ...]:
    """Default routes through an interface. Source: proc_net(5), net/ipv6/route.c of the kernel."""
    tables = namespace.call(lambda: [path.read_text() for path in _ROUTES if path.exists()])
    lines = [line.split() for table in tables for line in table.splitlines()]
    ipv4 = any(each[0] == name and each[1] == each[7] == _ANYWHERE_IPV4 for each in lines)
    ipv6 = any(each[-1] == name and each[:2] == _ANYWHERE_IPV6 for each in lines)
    return ("0.0.0.0/0",) * ipv4 + ("::/0",) * ipv6
