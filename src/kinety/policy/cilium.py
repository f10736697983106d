"""``cilium.io/v2`` policy objects as rules.

What is absent, what is empty and what is everything stay apart: a rule without peers is about any
peer, a rule with an empty list of peers about none, and a rule that says nothing at all (``- {}``)
about none either. The last two still isolate their subject.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from kinety.model.label import RESERVED
from kinety.model.rule import Action, Direction, Origin, Policy, PolicyKey, Rule
from kinety.model.selector import LabelSelector
from kinety.policy.diagnosis import closest, diagnose
from kinety.policy.document import Path, path_text
from kinety.policy.metadata import check_metadata
from kinety.policy.peers import NOBODY, peers_of
from kinety.policy.report import Report
from kinety.policy.schema import Authentication, CiliumPolicy, DefaultDeny, Egress, Ingress, Item, Spec
from kinety.policy.selection import node_subject, subject
from kinety.policy.traffic import EVERYTHING, Traffic, icmp_types, traffic_of

API_VERSION = "cilium.io/v2"
NAMESPACED = "CiliumNetworkPolicy"
CLUSTERWIDE = "CiliumClusterwideNetworkPolicy"

_SECTIONS = {
    "ingress": (Direction.INGRESS, Action.ALLOW, "from"),
    "ingressDeny": (Direction.INGRESS, Action.DENY, "from"),
    "egress": (Direction.EGRESS, Action.ALLOW, "to"),
    "egressDeny": (Direction.EGRESS, Action.DENY, "to"),
}
#: Modes of authentication, and whether they ask for any.
_AUTHENTICATION = {"disabled": False, "required": True, "test-always-fail": True}
#: Characters of log.value.
MAX_LOG = 32


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


@dataclass(frozen=True, slots=True)
class _Block:
    """What every rule of a spec shares."""

    subject: LabelSelector
    is_host: bool
    log: str


class _Translation:
    """One object on its way to rules."""

    def __init__(self, report: Report, path: Path, found: CiliumPolicy) -> None:
        self._report = report
        self._path = path
        self._found = found
        self._namespace = "" if found.kind == CLUSTERWIDE else found.metadata.namespace or "default"
        self._key = PolicyKey(found.kind, self._namespace, found.metadata.name)

    def policy(self) -> Policy:
        namespaced = NAMESPACED if self._found.kind == CLUSTERWIDE else None
        check_metadata(
            self._report, (*self._path, "metadata"), self._found.metadata, self._found.kind, namespaced
        )
        specs: list[tuple[Path, Spec]] = []
        if self._found.spec is not None:
            specs.append(((*self._path, "spec"), self._found.spec))
        for index, spec in enumerate(self._found.specs or ()):
            specs.append(((*self._path, "specs", index), spec))
        if not specs:
            self._report.add(self._path, "the policy says nothing", "write a spec, or specs")
        rules = [rule for path, spec in specs for rule in self._rules(path, spec)]
        return Policy(self._key, tuple(sorted(rules, key=_line)))

    def _rules(self, path: Path, spec: Spec) -> Iterator[Rule]:
        for index, label in enumerate(spec.labels or ()):
            if label.source == RESERVED or label.key.startswith(f"{RESERVED}:"):
                message = "labels of the source reserved are Kinety's own"
                self._report.add((*path, "labels", index), message, "write another source, or none")
        block = _Block(self._subject(path, spec), spec.subject is None, self._log(path, spec))
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
                yield from self._item((*path, section, index), section, block, item, isolates)
            if wanted and not items:
                origin = self._origin((*path, "enableDefaultDeny", name))
                yield Rule(block.subject, direction, Action.ALLOW, (), None, True, origin, log=block.log)

    def _subject(self, path: Path, spec: Spec) -> LabelSelector:
        if spec.subject is not None and spec.nodes is not None:
            message = "endpointSelector and nodeSelector cannot be in one block"
            self._report.add((*path, "nodeSelector"), message, "make a second block for nodes, in specs")
        elif spec.nodes is not None:
            where = (*path, "nodeSelector")
            if self._namespace:
                self._report.add(where, "nodes are in no namespace", f"write a {CLUSTERWIDE}")
            return node_subject(self._report, where, spec.nodes)
        if spec.subject is None:
            hint = "write `endpointSelector: {}` to select every pod in scope"
            self._report.add(path, "endpointSelector is missing", hint)
            return LabelSelector()
        return subject(self._report, (*path, "endpointSelector"), spec.subject, self._namespace)

    def _log(self, path: Path, spec: Spec) -> str:
        value = (spec.log.value if spec.log else None) or ""
        where = (*path, "log", "value")
        if len(value) > MAX_LOG:
            message = f"a text of {len(value)} characters; the limit is {MAX_LOG}"
            self._report.add(where, message, "write a shorter one")
        elif not value.isprintable():
            self._report.add(where, "the text has characters that cannot be printed", "remove them")
        return value

    def _item(self, path: Path, section: str, block: _Block, item: Item, isolates: bool) -> Iterator[Rule]:
        """The rules that one item of a section becomes: one for each kind of content that it names."""
        direction, action, side = _SECTIONS[section]
        said = item.model_fields_set
        if isinstance(item, Ingress | Egress) and item.authentication is not None:
            self._check_authentication((*path, "authentication"), item.authentication)
            said = said - {"authentication"}
        peers = peers_of(self._report, path, item, side, self._namespace) if said else NOBODY
        for traffic in self._traffic(path, item, direction, block):
            yield Rule(
                block.subject,
                direction,
                action,
                peers.selectors,
                traffic.ports,
                isolates,
                self._origin(path),
                layer7=traffic.layer7,
                log=block.log,
                references=peers.references,
                named_ports=traffic.named_ports,
            )

    def _traffic(self, path: Path, item: Item, direction: Direction, block: _Block) -> tuple[Traffic, ...]:
        if item.ports is not None and item.icmps is not None:
            self._report.add(path, "icmps and toPorts cannot be in one rule", "make a second rule for icmps")
        elif item.ports is not None:
            where = (*path, "toPorts")
            found = traffic_of(self._report, where, list(item.ports), direction, self._namespace)
            if block.is_host and any(traffic.layer7 for traffic in found):
                message = "content is not supported yet in rules about nodes"
                self._report.add(where, message, "leave rules and serverNames out")
            return found
        elif item.icmps is not None:
            return (Traffic(icmp_types(self._report, (*path, "icmps"), item.icmps)),)
        return (EVERYTHING,)

    def _check_authentication(self, path: Path, item: Authentication) -> None:
        asks = _AUTHENTICATION.get(item.mode)
        if asks is None:
            meant = closest(item.mode, _AUTHENTICATION)
            hint = f"did you mean {meant}?" if meant else f"there are {', '.join(_AUTHENTICATION)}"
            self._report.add((*path, "mode"), f"unknown mode {item.mode!r}", hint)
        elif asks:
            message = f"authentication in the mode {item.mode} is not supported yet"
            self._report.add(path, message, "leave it out; peers are known by their labels only")

    def _origin(self, path: Path) -> Origin:
        tree = self._report.tree
        return Origin(self._key, tree.file, tree.place_of(path)[0], path_text(path))


def _line(rule: Rule) -> int:
    return rule.origin.line
