"""Whom one rule is about: every list of peers of ``cilium.io/v2``, one kind in a rule.

Absent and empty stay apart: without any list a rule is about any peer, with an empty one about none.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from kinety.model.reference import CidrGroupReference, PeerReference, ServiceReference
from kinety.model.selector import CidrSelector, EntitySelector, FqdnSelector, PeerSelector
from kinety.policy.cidr import EVERYWHERE, exceptions, prefix_of
from kinety.policy.diagnosis import closest
from kinety.policy.document import Path
from kinety.policy.domain import names_of
from kinety.policy.entity import ALL, ENTITIES, NONE
from kinety.policy.metadata import check_name, check_namespace
from kinety.policy.report import Report
from kinety.policy.schema import CidrSetItem, Egress, EgressDeny, Item, ServiceItem
from kinety.policy.selection import constrained, constraints, node_peers, object_selector, peer


@dataclass(frozen=True, slots=True)
class Peers:
    """Peers of one rule; the fields are those of `kinety.model.rule.Rule`."""

    selectors: tuple[PeerSelector, ...] | None
    references: tuple[PeerReference, ...] = ()


ANYBODY = Peers(None)
NOBODY = Peers(())


def peers_of(report: Report, path: Path, item: Item, side: str, namespace: str) -> Peers:
    """The peers of the rule at a path. ``side`` is ``from`` or ``to``, ``namespace`` "" for no scope."""
    return _Lists(report, path, item, side, namespace).peers()


def check_entity(report: Report, path: Path, entity: str) -> None:
    """Report what is the name of no entity."""
    if entity not in ENTITIES:
        meant = closest(entity, ENTITIES)
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(sorted(ENTITIES))}"
        report.add(path, f"there is no entity {entity!r}", hint)


class _Lists:
    """The lists of peers of one rule."""

    def __init__(self, report: Report, path: Path, item: Item, side: str, namespace: str) -> None:
        self._report = report
        self._path = path
        self._item = item
        self._side = side
        self._namespace = namespace
        self._services = item.services if isinstance(item, EgressDeny) else None
        self._domains = item.domains if isinstance(item, Egress) else None

    def peers(self) -> Peers:
        item = self._item
        lists = {
            "Endpoints": item.endpoints,
            "CIDR": item.cidrs,
            "CIDRSet": item.cidr_sets,
            "Entities": item.entities,
            "Nodes": item.nodes,
            "Services": self._services,
            "FQDNs": self._domains,
        }
        self._check_requires({kind: found for kind, found in lists.items() if kind != "Endpoints"})
        if item.requires is None and all(found is None for found in lists.values()):
            return ANYBODY
        filled = [f"{self._side}{kind}" for kind, found in lists.items() if found]
        if len(filled) > 1:
            message = f"combining {' and '.join(filled)} in one rule is not supported"
            self._report.add((*self._path, filled[1]), message, "make a second rule for it")
        selectors: dict[PeerSelector, None] = {}
        references: dict[PeerReference, None] = {}
        for each in self._each():
            if isinstance(each, CidrGroupReference | ServiceReference):
                references[each] = None
            else:
                selectors[each] = None
        if EntitySelector(ALL) in selectors:
            return ANYBODY
        return Peers(tuple(selectors), tuple(references))

    def _check_requires(self, others: dict[str, object]) -> None:
        if self._item.requires is None:
            return
        name = f"{self._side}Requires"
        if not self._item.requires:
            self._report.add((*self._path, name), f"{name} is empty", "remove it")
        for kind, found in others.items():
            if found is not None:
                message = f"{name} narrows {self._side}Endpoints, not {self._side}{kind}"
                self._report.add((*self._path, name), message, "remove it, or make a second rule")

    def _each(self) -> Iterator[PeerSelector | PeerReference]:
        yield from self._endpoints()
        for index, cidr in enumerate(self._item.cidrs or ()):
            prefix = prefix_of(self._report, self._at("CIDR", index), cidr, bare=True)
            yield CidrSelector(prefix or EVERYWHERE)
        for index, cidr_set in enumerate(self._item.cidr_sets or ()):
            yield self._cidr_set(self._at("CIDRSet", index), cidr_set)
        for index, entity in enumerate(self._item.entities or ()):
            check_entity(self._report, self._at("Entities", index), entity)
            if entity != NONE:
                yield EntitySelector(entity)
        if self._item.nodes is not None and self._namespace:
            hint = "write a CiliumClusterwideNetworkPolicy"
            self._report.add((*self._path, f"{self._side}Nodes"), "nodes are in no namespace", hint)
        for index, selector in enumerate(self._item.nodes or ()):
            yield from node_peers(self._report, self._at("Nodes", index), selector)
        for index, service in enumerate(self._services or ()):
            yield self._service(self._at("Services", index), service)
        for index, domain in enumerate(self._domains or ()):
            names = names_of(self._report, self._at("FQDNs", index), domain)
            if names is not None:
                yield FqdnSelector(names)

    def _at(self, kind: str, index: int) -> Path:
        return (*self._path, f"{self._side}{kind}", index)

    def _endpoints(self) -> Iterator[PeerSelector]:
        required = constraints(
            self._report, (*self._path, f"{self._side}Requires"), self._item.requires or ()
        )
        if self._item.endpoints is None and self._item.requires:
            yield constrained(required, self._namespace)
        for index, selector in enumerate(self._item.endpoints or ()):
            yield peer(self._report, self._at("Endpoints", index), selector, self._namespace, required)

    def _cidr_set(self, path: Path, item: CidrSetItem) -> CidrSelector | CidrGroupReference:
        given = {"cidr": item.cidr, "cidrGroupRef": item.group, "cidrGroupSelector": item.groups}
        names = [name for name, value in given.items() if value is not None]
        if len(names) > 1:
            message = f"{' and '.join(names)} cannot be in one item"
            self._report.add((*path, names[1]), message, "make a second item")
        elif not names:
            hint = "write one of cidr, cidrGroupRef and cidrGroupSelector"
            self._report.add(path, "cidr is missing", hint)
        prefix = None
        if item.cidr is not None:
            prefix = prefix_of(self._report, (*path, "cidr"), item.cidr)
        if item.group is not None:
            check_name(self._report, (*path, "cidrGroupRef"), item.group)
        selector = None
        if item.groups is not None:
            selector = object_selector(self._report, (*path, "cidrGroupSelector"), item.groups)
        excepted = exceptions(self._report, (*path, "except"), item.excepted or [], prefix)
        if item.group is None and selector is None:
            return CidrSelector(prefix or EVERYWHERE, excepted)
        return CidrGroupReference(item.group, selector, excepted)

    def _service(self, path: Path, item: ServiceItem) -> ServiceReference:
        if (item.named is None) == (item.selected is None):
            problem = "neither k8sService nor k8sServiceSelector" if item.named is None else "both"
            hint = "write k8sService or k8sServiceSelector"
            self._report.add(path, f"exactly one way to name a service is needed, there is {problem}", hint)
        namespace, name, selector = None, None, None
        if item.named is not None:
            where = (*path, "k8sService")
            namespace, name = item.named.namespace, item.named.name
            check_name(self._report, (*where, "serviceName"), name)
        if item.selected is not None:
            where = (*path, "k8sServiceSelector")
            namespace = item.selected.namespace
            selector = object_selector(self._report, (*where, "selector"), item.selected.selector)
        if namespace is not None:
            check_namespace(self._report, (*where, "namespace"), namespace)
        return ServiceReference(namespace or self._namespace, name, selector)
