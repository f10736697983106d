"""``cilium.io/v2`` policy objects as rules.

What is absent, what is empty and what is everything stay apart: a rule without peers is about any
peer, a rule with an empty list of peers about none, and a rule that says nothing at all (``- {}``)
about none either. The last two still isolate their subject.
"""

import re
from collections.abc import Iterator

from pydantic import ValidationError

from kinety.model.address import Prefix
from kinety.model.label import RESERVED
from kinety.model.rule import Action, Direction, Origin, Policy, PolicyKey, Rule
from kinety.model.selector import CidrSelector, EntitySelector, LabelSelector, PeerSelector
from kinety.policy.diagnosis import closest, diagnose
from kinety.policy.document import Path, path_text
from kinety.policy.entity import ALL, ENTITIES, NONE
from kinety.policy.report import Report
from kinety.policy.schema import CidrSetItem, CiliumPolicy, DefaultDeny, Item, Metadata, Spec
from kinety.policy.selection import peer, subject
from kinety.policy.traffic import icmp_types, port_ranges

API_VERSION = "cilium.io/v2"
NAMESPACED = "CiliumNetworkPolicy"
CLUSTERWIDE = "CiliumClusterwideNetworkPolicy"

_SECTIONS = {
    "ingress": (Direction.INGRESS, Action.ALLOW, "from"),
    "ingressDeny": (Direction.INGRESS, Action.DENY, "from"),
    "egress": (Direction.EGRESS, Action.ALLOW, "to"),
    "egressDeny": (Direction.EGRESS, Action.DENY, "to"),
}
#: Kubernetes, "Object Names and IDs": DNS subdomain (RFC 1123), DNS label.
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*\Z")
_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\Z")
#: Stands in for a prefix that was reported; the object is refused anyway.
_EVERYWHERE = Prefix.parse("::/0")


def translate(report: Report, path: Path) -> Policy | None:
    """The rules of the object at a path, or None when something was reported."""
    before = len(report.findings)
    try:
        found = CiliumPolicy.model_validate(report.tree.value_at(path))
    except ValidationError as error:
        for finding in diagnose(report.tree, path, CiliumPolicy, error):
            report.note(finding)
        return None
    policy = _Translation(report, path, found).policy()
    return policy if len(report.findings) == before else None


class _Translation:
    """One object on its way to rules."""

    def __init__(self, report: Report, path: Path, found: CiliumPolicy) -> None:
        self._report = report
        self._path = path
        self._found = found
        self._namespace = "" if found.kind == CLUSTERWIDE else found.metadata.namespace or "default"
        self._key = PolicyKey(found.kind, self._namespace, found.metadata.name)

    def policy(self) -> Policy:
        self._check_metadata(self._found.metadata)
        specs: list[tuple[Path, Spec]] = []
        if self._found.spec is not None:
            specs.append(((*self._path, "spec"), self._found.spec))
        for index, spec in enumerate(self._found.specs or ()):
            specs.append(((*self._path, "specs", index), spec))
        if not specs:
            self._report.add(self._path, "the policy says nothing", "write a spec, or specs")
        rules = [rule for path, spec in specs for rule in self._rules(path, spec)]
        return Policy(self._key, tuple(sorted(rules, key=_line)))

    def _check_metadata(self, metadata: Metadata) -> None:
        path = (*self._path, "metadata")
        hint = "lower-case letters, digits and dashes, the ends letters or digits"
        if not _NAME.match(metadata.name):
            self._report.add((*path, "name"), f"{metadata.name!r} cannot be a name", hint)
        if metadata.namespace is None:
            return
        if self._found.kind == CLUSTERWIDE:
            message = f"a {CLUSTERWIDE} is in no namespace"
            self._report.add((*path, "namespace"), message, f"remove it, or write a {NAMESPACED}")
        elif not _NAMESPACE.match(metadata.namespace):
            self._report.add((*path, "namespace"), f"{metadata.namespace!r} cannot be a namespace", hint)

    def _rules(self, path: Path, spec: Spec) -> Iterator[Rule]:
        for index, label in enumerate(spec.labels or ()):
            if label.source == RESERVED or label.key.startswith(f"{RESERVED}:"):
                self._report.add((*path, "labels", index), "labels of the source reserved are Kinety's own")
        selector = subject(self._report, (*path, "endpointSelector"), spec.subject, self._namespace)
        default_deny = spec.default_deny or DefaultDeny()
        sections: dict[str, list[Item]] = {
            "ingress": list(spec.ingress or ()),
            "ingressDeny": list(spec.ingressDeny or ()),
            "egress": list(spec.egress or ()),
            "egressDeny": list(spec.egressDeny or ()),
        }
        if not any(sections.values()):
            hint = "write `ingress: [{}]` to let nothing in, or `egress: [{}]` to let nothing out"
            self._report.add(path, "there is no rule in ingress, ingressDeny, egress or egressDeny", hint)
        for direction, name in ((Direction.INGRESS, "ingress"), (Direction.EGRESS, "egress")):
            wanted: bool | None = getattr(default_deny, name)
            items = [(s, i, item) for s in (name, f"{name}Deny") for i, item in enumerate(sections[s])]
            for section, index, item in items:
                isolates = True if wanted is None else wanted
                yield self._rule((*path, section, index), section, selector, item, isolates)
            if wanted and not items:
                where = (*path, "enableDefaultDeny", name)
                yield Rule(selector, direction, Action.ALLOW, (), None, True, self._origin(where))

    def _rule(self, path: Path, section: str, selector: LabelSelector, item: Item, isolates: bool) -> Rule:
        direction, action, side = _SECTIONS[section]
        peers = self._peers(path, item, side)
        ports = None
        if item.ports is not None and item.icmps is not None:
            self._report.add(path, "icmps and toPorts cannot be in one rule", "make a second rule for icmps")
        elif item.ports is not None:
            ports = port_ranges(self._report, (*path, "toPorts"), list(item.ports))
        elif item.icmps is not None:
            ports = icmp_types(self._report, (*path, "icmps"), item.icmps)
        elif not item.model_fields_set:
            peers = ()
        return Rule(selector, direction, action, peers, ports, isolates, self._origin(path))

    def _origin(self, path: Path) -> Origin:
        tree = self._report.tree
        return Origin(self._key, tree.file, tree.place_of(path)[0], path_text(path))

    def _peers(self, path: Path, item: Item, side: str) -> tuple[PeerSelector, ...] | None:
        lists = {
            "Endpoints": item.endpoints,
            "CIDR": item.cidrs,
            "CIDRSet": item.cidr_sets,
            "Entities": item.entities,
        }
        if all(found is None for found in lists.values()):
            return None
        filled = [f"{side}{kind}" for kind, found in lists.items() if found]
        if len(filled) > 1:
            message = f"combining {' and '.join(filled)} in one rule is not supported"
            self._report.add((*path, filled[1]), message, "make a second rule for it")
        peers: dict[PeerSelector, None] = {}
        for index, selector in enumerate(item.endpoints or ()):
            peers[peer(self._report, (*path, f"{side}Endpoints", index), selector, self._namespace)] = None
        for index, cidr in enumerate(item.cidrs or ()):
            prefix = self._prefix((*path, f"{side}CIDR", index), cidr)
            peers[CidrSelector(prefix or _EVERYWHERE)] = None
        for index, cidr_set in enumerate(item.cidr_sets or ()):
            peers[self._cidr_set((*path, f"{side}CIDRSet", index), cidr_set)] = None
        for index, entity in enumerate(item.entities or ()):
            self._check_entity((*path, f"{side}Entities", index), entity)
            if entity != NONE:
                peers[EntitySelector(entity)] = None
        return None if EntitySelector(ALL) in peers else tuple(peers)

    def _check_entity(self, path: Path, entity: str) -> None:
        if entity not in ENTITIES:
            meant = closest(entity, ENTITIES)
            hint = f"did you mean {meant}?" if meant else f"there are {', '.join(sorted(ENTITIES))}"
            self._report.add(path, f"there is no entity {entity!r}", hint)

    def _cidr_set(self, path: Path, item: CidrSetItem) -> CidrSelector:
        prefix = self._prefix((*path, "cidr"), item.cidr, bare=False)
        excepted: dict[Prefix, None] = {}
        for index, text in enumerate(item.excepted or ()):
            where = (*path, "except", index)
            left_out = self._prefix(where, text, bare=False)
            if left_out is None or prefix is None:
                continue
            # All addresses are 16 bytes, so ::/0 would contain IPv4.
            if prefix.is_ipv4 != left_out.is_ipv4 or not prefix.contains(left_out):
                self._report.add(where, f"{text} is not inside {item.cidr}", "leave out only parts of cidr")
            excepted[left_out] = None
        return CidrSelector(prefix or _EVERYWHERE, tuple(sorted(excepted)))

    def _prefix(self, path: Path, text: str, *, bare: bool = True) -> Prefix | None:
        """A prefix, or with ``bare`` a single address; None when something was reported."""
        prefix: Prefix | None
        example = "write a prefix such as 10.0.0.0/8 or 2001:db8::/32"
        if "/" not in text and not bare:
            self._report.add(path, f"{text!r} has no prefix length", example)
            return None
        try:
            prefix = Prefix.parse(text)
        except ValueError:
            prefix = None
        if prefix is None or "%" in text:
            self._report.add(path, f"{text!r} is not an address prefix", example)
            return None
        if ":" in text and prefix.is_ipv4:
            self._report.add(path, f"{text!r} is an IPv4 prefix written as IPv6", f"write {prefix}")
            return None
        return prefix


def _line(rule: Rule) -> int:
    return rule.origin.line
