"""Who there is and which policies hold, from files: for verbs that answer without an agent."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kinety.cli.documents import read_documents
from kinety.model.address import pack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.invariant import Invariant
from kinety.model.label import Labels
from kinety.model.reference import CidrGroup, Service
from kinety.model.rule import Policy, PolicyKey
from kinety.plan.change import Capacity
from kinety.plan.engine import Engine
from kinety.plan.fact import (
    CidrGroupUpserted,
    EndpointUpserted,
    Fact,
    HostAddressesChanged,
    NodeLabelsChanged,
    PolicyUpserted,
    ServiceUpserted,
)
from kinety.policy.document import Document
from kinety.policy.parse import Objects, parse_objects
from kinety.testing.parse import parse_scenarios, speaks_of_scenarios
from kinety.testing.scenario import HOST_ADDRESSES

#: An engine of files writes no maps, so nothing can overflow.
_ROOM = Capacity(**dict.fromkeys(Capacity.__dataclass_fields__, 1 << 24))


@dataclass(frozen=True, slots=True)
class Inventory:
    """Endpoints of scenarios; policies of scenarios and of policy files; and what else these hold."""

    endpoints: tuple[Endpoint, ...]
    policies: tuple[Policy, ...]
    cidr_groups: tuple[CidrGroup, ...] = ()
    services: tuple[Service, ...] = ()
    invariants: tuple[Invariant, ...] = ()
    #: The labels of the node that scenarios speak of, all of them.
    node: Labels = frozenset()

    def with_objects(self, objects: Objects) -> "Inventory":
        """The same with what some documents hold on top; of two policies of one name, theirs."""
        policies = {each.key: each for each in (*self.policies, *objects.policies)}
        return Inventory(
            self.endpoints,
            tuple(policies.values()),
            (*self.cidr_groups, *objects.cidr_groups),
            (*self.services, *objects.services),
            (*self.invariants, *objects.invariants),
            self.node,
        )

    def engine(self) -> Engine:
        """An engine that knows all of it, and the host, which has a say where policies are about nodes.

        Of two endpoints of one name the first is meant, and of two with one address the first has it.
        """
        engine = Engine(_ROOM)
        facts: list[Fact] = [HostAddressesChanged(frozenset(map(pack_address, HOST_ADDRESSES.values())))]
        if any(rule.about_nodes for policy in self.policies for rule in policy.rules):
            facts.append(NodeLabelsChanged(self.node))
        facts += map(EndpointUpserted, _apart(self.endpoints))
        facts += map(CidrGroupUpserted, self.cidr_groups)
        facts += map(ServiceUpserted, self.services)
        facts += map(PolicyUpserted, self.policies)
        engine.change(facts)
        return engine


def read_inventory(names: Iterable[str]) -> Inventory:
    """What scenarios and policy files say together; directories are searched for both.

    The same policy may be given twice, as when a scenario names a file beside it. Raises PolicyError for
    documents that are wrong, ValueError for two endpoints or two different policies of one name.
    """
    documents = [Document(each.file, each.text) for each in read_documents(names)]
    scenarios = [each for each in documents if speaks_of_scenarios(each)]
    others = [each for each in documents if each not in scenarios]
    endpoints: dict[str, Endpoint] = {}
    policies: dict[PolicyKey, Policy] = {}
    node: Labels = frozenset()
    found = parse_objects(others) if others else Objects({})
    policies.update((each.key, each) for each in found.policies)
    for scenario in parse_scenarios(scenarios, _read_policy):
        node |= scenario.node
        for own in scenario.endpoints:
            if str(own.endpoint) in endpoints:
                raise ValueError(
                    f"{scenario.file}: there are two endpoints {own.endpoint}; give one scenario at a time"
                )
            endpoints[str(own.endpoint)] = own.endpoint
        for each in scenario.policies:
            if _said(policies.setdefault(each.key, each)) != _said(each):
                raise ValueError(f"{scenario.file}: {each.key} is another than in a file given beside it")
    known = Inventory(tuple(endpoints.values()), tuple(policies.values()), node=node)
    return known.with_objects(found)


def _apart(endpoints: Iterable[Endpoint]) -> Iterator[Endpoint]:
    """Endpoints with numbers and addresses of their own: scenarios know nothing of each other."""
    named: set[str] = set()
    taken: set[bytes | None] = set()
    for each in endpoints:
        if str(each) not in named:
            named.add(str(each))
            ipv4, ipv6 = (None if own in taken else own for own in (each.ipv4, each.ipv6))
            taken |= {ipv4, ipv6}
            yield replace(each, id=EndpointId(len(named)), ipv4=ipv4, ipv6=ipv6)


def _said(policy: Policy) -> tuple[object, ...]:
    """What a policy says, wherever it is written."""
    return tuple(replace(each, origin=replace(each.origin, file="")) for each in policy.rules)


def _read_policy(scenario: str, path: str) -> Document:
    (document,) = read_documents([str(Path(scenario).parent / path)])
    return Document(document.file, document.text)
