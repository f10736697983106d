"""An attach request as facts: checked names, labels, addresses and network namespace."""

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from ipaddress import ip_address

from kinety.agent.address_book import AddressBook
from kinety.api.errors import refuse
from kinety.api.types import EndpointRequest
from kinety.datapath.interface import IPV6_LEAST_MTU
from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.model.address import IPAddress
from kinety.model.endpoint import Listen
from kinety.model.label import Label, Labels, labels_of_endpoint

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\Z")
#: What the CNI specification takes for a container's id and a network's name.
_CNI_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}\Z")
#: Linux: IFNAMSIZ, and no slash, colon or space. Source: kernel net/core/dev.c, dev_valid_name.
_INTERFACE = re.compile(r"[^\s/:\0]{1,15}\Z")
LONGEST_LABEL = 320
#: IANA service names (RFC 6335, 5.1), as Kubernetes writes them: in lower case.
_PORT_NAME = re.compile(r"(?=.{1,15}\Z)(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*\Z")


def check_names(request: EndpointRequest) -> None:
    """Raises ApiError for a name that cannot be one."""
    check_name("name", request.name)
    check_name("namespace", request.namespace)
    if not _INTERFACE.match(request.interface) or request.interface in (".", ".."):
        raise refuse(400, f"{request.interface!r} is no name of an interface", path="interface")
    if request.attachment is not None:
        for path, name in (
            ("attachment.container", request.attachment.container),
            ("attachment.network", request.attachment.network),
        ):
            if not _CNI_NAME.match(name):
                message = f"{name!r} is none: a letter or digit, then letters, digits, '-', '_' and '.'"
                raise refuse(400, message, path=path)
    if request.mtu is not None and not 68 <= request.mtu <= 65535:
        raise refuse(400, f"an MTU of {request.mtu} bytes is impossible; 68 to 65535 are not", path="mtu")


def check_mtu(mtu: int | None, addresses: Mapping[int, IPAddress]) -> None:
    """Raises ApiError when an interface would be too narrow for one of its addresses."""
    if mtu is not None and mtu < IPV6_LEAST_MTU and 6 in addresses:
        message = f"IPv6 needs an MTU of {IPV6_LEAST_MTU} bytes, and the interface has {mtu}"
        raise refuse(400, f"{message}; give it more, or the node no IPv6 pool", path="mtu")


def check_name(path: str, name: str) -> None:
    """Raises ApiError for what cannot be the name of an endpoint or of a namespace."""
    if not _NAME.match(name):
        message = f"{name!r} is no name: letters, digits, '-', '_' and '.', at most 253 of them"
        raise refuse(400, message, path=path)


def labels_of(request: EndpointRequest) -> Labels:
    """All labels of the endpoint-to-be. Raises ApiError."""
    found: dict[tuple[str, str], Label] = {}
    try:
        for text in request.labels:
            if len(text) > LONGEST_LABEL or not text.isprintable():
                raise ValueError(f"label {text[:40]!r} is too long or not printable")
            if any(map(str.isspace, text)):
                raise ValueError(f"label {text!r} has a space in it; give each label on its own")
            label = Label.parse(text)
            if found.setdefault((label.source, label.key), label) != label:
                raise ValueError(f"label {label.source}:{label.key} is given with two values")
        _check_namespace_labels(request.namespace_labels)
        return labels_of_endpoint(request.namespace, found.values(), request.namespace_labels)
    except ValueError as error:
        raise refuse(400, str(error), path="labels") from error


def listens_of(request: EndpointRequest) -> frozenset[Listen]:
    """The names of its ports. Raises ApiError."""
    found = set()
    for text in request.port_names:
        try:
            listen = Listen.parse(text)
        except ValueError as error:
            raise refuse(400, str(error), path="port_names") from error
        if not _PORT_NAME.match(listen.name):
            message = (
                f"{listen.name!r} is no name of a port; write at most 15 lower-case letters, digits and -"
            )
            raise refuse(400, message, path="port_names")
        found.add(listen)
    names = Counter((each.name, each.protocol) for each in found)
    for (name, _), times in names.items():
        if times > 1:
            raise refuse(400, f"port name {name!r} is given to two ports", path="port_names")
    return frozenset(found)


def _check_namespace_labels(labels: Mapping[str, str]) -> None:
    for key, value in labels.items():
        if any(map(str.isspace, key + value)):
            raise ValueError(f"namespace label {f'{key}={value}'!r} has a space in it")
        if not key or not (key + value).isprintable() or len(key + value) > LONGEST_LABEL:
            raise ValueError(f"namespace label {key[:40]!r} is empty, too long or not printable")


def open_namespace(request: EndpointRequest) -> tuple[Namespace, str]:
    """The network namespace and the path it was found at. Raises ApiError."""
    if (request.netns is None) == (request.pid is None):
        raise refuse(400, "give exactly one of netns and pid", path="netns")
    field = "netns" if request.pid is None else "pid"
    path = request.netns if request.pid is None else f"/proc/{request.pid}/ns/net"
    if path is None or not path.startswith("/") or "\0" in path:
        raise refuse(400, f"{path!r} is no absolute path", path=field)
    try:
        namespace = Namespace.open(path)
    except ValueError as error:
        raise refuse(400, str(error), path=field) from error
    except OSError as error:
        gone = request.pid is not None and isinstance(error, (FileNotFoundError, ProcessLookupError))
        what = f"no process {request.pid}" if gone else f"{path}: {error.strerror}"
        raise refuse(400, f"no such network namespace: {what}", path=field) from error
    if namespace.inode == os.stat("/proc/self/ns/net").st_ino:
        namespace.close()
        raise refuse(400, f"{path} is the node's own network namespace", path=field)
    return namespace, path


def has_interface(namespace: Namespace, name: str) -> bool:
    """Whether an interface of this name is in a network namespace."""
    with Netlink(namespace) as netlink:
        return netlink.link_named(name) is not None


def addresses_of(
    request: EndpointRequest, book: AddressBook, own: Callable[[IPAddress], bool]
) -> dict[int, IPAddress]:
    """The endpoint's addresses by IP version: those given, and for the other families the next free ones.

    ``own`` says whether an address is the node's. They are nobody's before they are claimed.
    Raises ApiError or PoolExhausted.
    """
    addresses: dict[int, IPAddress] = {}
    for text in request.addresses:
        address = _usable(text)
        if address.version in addresses:
            raise refuse(400, f"more than one IPv{address.version} address", path="addresses")
        if own(address):
            raise refuse(409, f"address {address} is in use by the node itself", path="addresses")
        if reason := book.refusal(address, f"{request.namespace}/{request.name}"):
            raise refuse(409, reason, path="addresses")
        addresses[address.version] = address
    for version in book.families:
        if version not in addresses:
            addresses[version] = book.next(version, own)
    if not addresses:
        raise refuse(400, "the agent has no address pools; give the endpoint an address", path="addresses")
    return addresses


def _usable(text: str) -> IPAddress:
    try:
        address = ip_address(text)
    except ValueError as error:
        raise refuse(400, f"{text!r} is no IP address", path="addresses") from error
    mapped = getattr(address, "ipv4_mapped", None)
    if (
        address.is_multicast
        or address.is_loopback
        or address.is_unspecified
        or address.is_link_local
        or mapped is not None
        or getattr(address, "scope_id", None)
        or address == ip_address("255.255.255.255")
    ):
        raise refuse(400, f"{address} cannot be an endpoint's address", path="addresses")
    return address
