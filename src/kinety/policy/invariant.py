"""``kinety.io/v1alpha1`` Invariant: what must hold whatever policies say.

In a namespace, selectors reach as far as those of a CiliumNetworkPolicy's peers do; an invariant without
one is about the whole cluster. Nothing is left to be guessed: an end that is left out is an error, and so is
one that is nobody, because what is said about nobody always holds.
"""

from collections.abc import Iterator

from pydantic import Field, ValidationError

from kinety.model.invariant import Claim, Demand, Invariant
from kinety.model.rule import Origin, PolicyKey, PortRange
from kinety.model.selector import CidrSelector, EntitySelector, LabelSelector, PeerSelector
from kinety.policy.choice import only
from kinety.policy.cidr import EVERYWHERE, prefix_of
from kinety.policy.diagnosis import Elsewhere, diagnose
from kinety.policy.document import Path, path_text
from kinety.policy.entity import ALL, NONE
from kinety.policy.metadata import check_metadata
from kinety.policy.peers import check_entity
from kinety.policy.report import Report
from kinety.policy.schema import Metadata, Model, Port, Selector
from kinety.policy.selection import peer
from kinety.policy.traffic import ranges_of

API_VERSION = "kinety.io/v1alpha1"
KIND = "Invariant"


class End(Model):
    """Who sends or receives; one of the three."""

    endpoints: Selector | None = None
    entity: str | None = None
    cidr: str | None = None


class Item(Model):
    """One item of mustAllow or mustDeny."""

    source: End | None = Field(None, alias="from")
    destination: End | None = Field(None, alias="to")
    ports: list[Port] | None = None


class Spec(Model):
    """What is demanded."""

    description: str | None = None
    must_allow: list[Item] | None = Field(None, alias="mustAllow")
    must_deny: list[Item] | None = Field(None, alias="mustDeny")


class InvariantObject(Model):
    """A whole object."""

    apiVersion: str
    kind: str
    metadata: Metadata
    spec: Spec


_AN_END = "write it as `from: {...}` or `to: {...}`"
_ELSEWHERE: Elsewhere = {
    InvariantObject: {
        field: (f"{field} belongs under spec", "indent it to stand inside spec")
        for field in ("mustAllow", "mustDeny")
    },
    Spec: {
        field: (f"{field} belongs inside an item of mustAllow or mustDeny", "begin the item with `- `")
        for field in ("from", "to", "ports")
    },
    Item: {
        **{
            field: (f"{field} belongs inside from or to", _AN_END)
            for field in ("endpoints", "entity", "cidr")
        },
        "toPorts": ("toPorts is a field of CiliumNetworkPolicy", "write ports"),
    },
    End: {
        field: (f"{field} belongs inside endpoints", "write `endpoints: {...}`")
        for field in ("matchLabels", "matchExpressions")
    },
}


def translate(report: Report, path: Path) -> Invariant | None:
    """The claims of the object at a path, or None when something was reported."""
    before = len(report.findings)
    try:
        found = InvariantObject.model_validate(report.tree.value_at(path))
    except ValidationError as error:
        for finding in diagnose(report.tree, path, InvariantObject, error, _ELSEWHERE):
            report.note(finding)
        return None
    check_metadata(report, (*path, "metadata"), found.metadata, KIND, None)
    key = PolicyKey(KIND, found.metadata.namespace or "", found.metadata.name)
    claims = tuple(sorted(_claims(report, (*path, "spec"), found.spec, key), key=_line))
    return Invariant(key, claims) if len(report.findings) == before else None


def _claims(report: Report, path: Path, spec: Spec, key: PolicyKey) -> Iterator[Claim]:
    if not spec.must_allow and not spec.must_deny:
        hint = "write `mustDeny: [...]` or `mustAllow: [...]`"
        report.add(path, "the invariant demands nothing", hint)
    for field, demand, items in (
        ("mustAllow", Demand.MUST_ALLOW, spec.must_allow),
        ("mustDeny", Demand.MUST_DENY, spec.must_deny),
    ):
        for index, item in enumerate(items or ()):
            where = (*path, field, index)
            origin = Origin(key, report.tree.file, report.tree.place_of(where)[0], path_text(where))
            ends = [
                _end(report, where, side, end, key.namespace)
                for side, end in (("from", item.source), ("to", item.destination))
            ]
            if None not in (item.source, item.destination) and not _has_endpoints(item):
                hint = "write endpoints at one end, `{}` for every one"
                report.add(where, "no policy is about traffic between these two", hint)
            yield Claim(demand, ends[0], ends[1], _ports(report, (*where, "ports"), item.ports), origin)


def _has_endpoints(item: Item) -> bool:
    return any(end is not None and end.endpoints is not None for end in (item.source, item.destination))


def _end(report: Report, path: Path, side: str, end: End | None, namespace: str) -> PeerSelector | None:
    """Who is at one end; None for anybody, and for what was reported."""
    where = (*path, side)
    if end is None:
        hint = (
            f"write `{side}: {{endpoints: {{}}}}` for every endpoint, `{side}: {{entity: all}}` for everybody"
        )
        report.add(path, f"{side} is missing", hint)
        return None
    only(report, where, end)
    if end.endpoints is not None:
        return peer(report, (*where, "endpoints"), end.endpoints, namespace)
    if end.cidr is not None:
        return CidrSelector(prefix_of(report, (*where, "cidr"), end.cidr, bare=True) or EVERYWHERE)
    if end.entity is None:
        return LabelSelector()
    check_entity(report, (*where, "entity"), end.entity)
    if end.entity == NONE:
        report.add((*where, "entity"), "what is said about nobody always holds", "name somebody")
    return None if end.entity == ALL else EntitySelector(end.entity)


def _ports(report: Report, path: Path, items: list[Port] | None) -> tuple[PortRange, ...] | None:
    if items is None:
        return None
    if not items:
        report.add(path, "no ports are named", "leave ports out for every port, or name some")
    found: set[PortRange] = set()
    for index, item in enumerate(items):
        for each in ranges_of(report, (*path, index), item, "ports"):
            if isinstance(each, PortRange):
                found.add(each)
            else:
                hint = "write its number; a name stands for another one at every endpoint"
                report.add((*path, index, "port"), f"{each.name!r} is the name of a port", hint)
    return tuple(sorted(found))


def _line(claim: Claim) -> int:
    return claim.origin.line
