"""``policy.networking.k8s.io`` objects as rules of the admin and the baseline tier.

``v1alpha2`` (and ``v1beta1``, which says the same) has one kind, ClusterNetworkPolicy, which names its tier.
``v1alpha1`` has AdminNetworkPolicy, and one BaselineAdminNetworkPolicy called ``default``; they say the same
in older words. None of them isolates: what their rules do not name is left to the next tier.

The API leaves open what happens to unknown peers ("it should fail closed"); here they are refused. It also
leaves open which of two policies of one priority is first: here it is the one whose kind and name sort first.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from kinety.model.rule import Action, Direction, Origin, Policy, PolicyKey, Rule, Tier
from kinety.policy.choice import check_length
from kinety.policy.cluster_network_peer import peers_of, pods_of
from kinety.policy.cluster_network_port import traffic_of
from kinety.policy.cluster_network_schema import (
    ELSEWHERE,
    AdminNetworkPolicy,
    AdminSpec,
    BaselineAdminNetworkPolicy,
    ClusterNetworkPolicy,
    ClusterSpec,
)
from kinety.policy.cluster_network_schema import Rule as RuleItem
from kinety.policy.diagnosis import closest, diagnose
from kinety.policy.document import Path, path_text
from kinety.policy.metadata import check_metadata
from kinety.policy.report import Report
from kinety.policy.schema import Metadata

API_VERSION = "policy.networking.k8s.io/v1alpha2"
NEWER_API_VERSION = "policy.networking.k8s.io/v1beta1"
OLDER_API_VERSION = "policy.networking.k8s.io/v1alpha1"
KIND = "ClusterNetworkPolicy"
ADMIN_KIND = "AdminNetworkPolicy"
BASELINE_KIND = "BaselineAdminNetworkPolicy"

LAST_PRIORITY = 1000
#: Characters of a rule's name.
MAX_NAME = 100
#: The one baseline policy that v1alpha1 knows, and its place: after all that have a priority.
BASELINE_NAME = "default"
BASELINE_PRIORITY = LAST_PRIORITY + 1

_Policy = ClusterNetworkPolicy | AdminNetworkPolicy | BaselineAdminNetworkPolicy


@dataclass(frozen=True, slots=True)
class _Dialect:
    """What one kind has of its own: words for actions, and how long its lists may be."""

    model: type[_Policy]
    actions: dict[str, Action]
    #: Rules in a direction, and peers and ports in a rule.
    longest: int


_DENY_OR_PASS = {"Deny": Action.DENY, "Pass": Action.PASS}
_DIALECTS = {
    KIND: _Dialect(ClusterNetworkPolicy, {"Accept": Action.ALLOW, **_DENY_OR_PASS}, 25),
    ADMIN_KIND: _Dialect(AdminNetworkPolicy, {"Allow": Action.ALLOW, **_DENY_OR_PASS}, 100),
    BASELINE_KIND: _Dialect(BaselineAdminNetworkPolicy, {"Allow": Action.ALLOW, "Deny": Action.DENY}, 100),
}
_TIERS = {"Admin": Tier.ADMIN, "Baseline": Tier.BASELINE}
_OTHER_WORD = {"Allow": "Accept", "Accept": "Allow"}


def translate(report: Report, path: Path) -> Policy | None:
    """The rules of the object at a path, or None when something was reported."""
    before = len(report.findings)
    found = report.tree.value_at(path)
    dialect = _DIALECTS[found["kind"]]
    try:
        policy = dialect.model.model_validate(found)
    except ValidationError as error:
        for finding in diagnose(report.tree, path, dialect.model, error, ELSEWHERE):
            report.note(finding)
        return None
    translated = _Translation(report, path, policy, dialect).policy()
    return translated if len(report.findings) == before else None


class _Translation:
    """One object on its way to rules."""

    def __init__(self, report: Report, path: Path, found: _Policy, dialect: _Dialect) -> None:
        self._report = report
        self._path = path
        self._found = found
        self._dialect = dialect
        self._key = PolicyKey(found.kind, "", found.metadata.name)

    def policy(self) -> Policy:
        self._check_metadata(self._found.metadata)
        path, spec = (*self._path, "spec"), self._found.spec
        if not spec.ingress and not spec.egress:
            self._report.add(path, "there is no rule in ingress or egress", "write one, or remove the policy")
        return Policy(self._key, tuple(self._rules(path)))

    def _check_metadata(self, metadata: Metadata) -> None:
        kind, path = self._found.kind, (*self._path, "metadata")
        check_metadata(self._report, path, metadata, kind, "NetworkPolicy")
        if kind == BASELINE_KIND and metadata.name != BASELINE_NAME:
            hint = f"write `name: {BASELINE_NAME}`, or a {KIND} with `tier: Baseline`"
            self._report.add((*path, "name"), f"the one {kind} is called {BASELINE_NAME}", hint)

    def _place(self, path: Path) -> tuple[Tier, int]:
        """Tier and priority."""
        spec, tier = self._found.spec, Tier.ADMIN
        if not isinstance(spec, ClusterSpec | AdminSpec):
            return Tier.BASELINE, BASELINE_PRIORITY
        if isinstance(spec, ClusterSpec):
            if spec.tier not in _TIERS:
                self._report.add((*path, "tier"), f"unknown tier {spec.tier!r}", _spelling(spec.tier, _TIERS))
            tier = _TIERS.get(spec.tier, tier)
        if not 0 <= spec.priority <= LAST_PRIORITY:
            hint = f"write 0 to {LAST_PRIORITY}; the lower is asked first"
            self._report.add((*path, "priority"), f"there is no priority {spec.priority}", hint)
        return tier, spec.priority

    def _rules(self, path: Path) -> Iterator[Rule]:
        """The rules of the spec at a path, as written within a direction."""
        spec, longest = self._found.spec, self._dialect.longest
        subject = pods_of(self._report, (*path, "subject"), spec.subject)
        tier, priority = self._place(path)
        sections: tuple[tuple[str, Direction, str, Sequence[RuleItem]], ...] = (
            ("ingress", Direction.INGRESS, "from", spec.ingress or ()),
            ("egress", Direction.EGRESS, "to", spec.egress or ()),
        )
        for section, direction, side, items in sections:
            check_length(self._report, (*path, section), items, longest, "rules", "make a second policy")
            for index, item in enumerate(items):
                where = (*path, section, index)
                action = self._action(where, item)
                traffic = traffic_of(self._report, where, item, longest)
                yield Rule(
                    subject,
                    direction,
                    action,
                    peers_of(self._report, (*where, side), item, action, longest),
                    traffic.ranges,
                    False,
                    self._origin(where),
                    tier,
                    priority,
                    named_ports=traffic.named,
                )

    def _action(self, path: Path, item: RuleItem) -> Action:
        check_length(
            self._report, (*path, "name"), item.name or "", MAX_NAME, "characters", "write a shorter one"
        )
        known = self._dialect.actions
        if item.action not in known:
            meant = _OTHER_WORD.get(item.action)
            hint = f"write {meant}" if meant in known else _spelling(item.action, known)
            self._report.add((*path, "action"), f"a {self._found.kind} cannot {item.action!r}", hint)
        return known.get(item.action, Action.DENY)

    def _origin(self, path: Path) -> Origin:
        tree = self._report.tree
        return Origin(self._key, tree.file, tree.place_of(path)[0], path_text(path))


def _spelling(word: str, known: Iterable[str]) -> str:
    meant = closest(word, known)
    return f"did you mean {meant}?" if meant else f"write one of {', '.join(known)}"
