"""The kernel's tables as dicts, changed field by field the way the datapath does."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from kinety.model.address import Prefix
from kinety.model.endpoint import EndpointId
from kinety.model.identity import ClassId, Identity, ReservedIdentity
from kinety.model.layer7 import NO_LAYER7, Layer7, Layer7Id
from kinety.model.rule import Direction, Rule, RuleId
from kinety.model.verdict import DEFAULT_DENY, RuleSet, RuleSetKey, Verdict, VerdictKind
from kinety.plan.change import Change, EndpointPlan, RuleSetId, Snapshot

Rows = dict[RuleSetKey, Verdict]


@dataclass
class Tables:
    rules: dict[RuleId, Rule] = field(default_factory=dict)
    rule_sets: dict[RuleSetId, Rows] = field(default_factory=dict)
    identity_classes: dict[Identity, ClassId] = field(default_factory=dict)
    ipcache: dict[Prefix, Identity] = field(default_factory=dict)
    endpoints: dict[EndpointId, EndpointPlan] = field(default_factory=dict)
    layer7_sets: dict[Layer7Id, Layer7] = field(default_factory=dict)
    host: EndpointPlan | None = None

    def steps(self, change: Change) -> Iterator[str]:
        """Apply a change; pauses after every single entry. Refuses what a kernel would not find."""
        self.rules.update(change.rules)
        assert not change.layer7_sets.keys() & self.layer7_sets.keys(), "content is there already"
        self.layer7_sets |= change.layer7_sets
        for name, table in change.rule_sets.items():
            assert name not in self.rule_sets, f"rule set {name} is there already"
            self.rule_sets[name] = dict(table.rows)
        yield "rule_sets"
        for name, rows in change.rows.items():
            assert not rows.keys() & self.rule_sets[name].keys(), "rows are there already"
            in_use = set(self.identity_classes.values())
            assert not {key.class_id for key in rows} & in_use, "rows for a class in use"
            self.rule_sets[name] |= rows
            yield "rows"
        for identity, class_id in change.identity_classes.items():
            assert class_id
            self.identity_classes[identity] = class_id
            yield "identity_classes"
        for prefix, identity in change.ipcache.items():
            self.ipcache[prefix] = identity
            yield "ipcache"
        for endpoint, plan in change.endpoints.items():
            if former := self.endpoints.get(endpoint):
                self.endpoints[endpoint] = replace(former, ipv4=plan.ipv4, ipv6=plan.ipv6)
                yield "endpoints"
        for endpoint, plan in change.endpoints.items():
            assert pointed(plan) <= self.rule_sets.keys()
            self.endpoints[endpoint] = plan
            yield "endpoints"
        if change.host is not None:
            assert pointed(change.host) <= self.rule_sets.keys()
            self.host = change.host if change.host.judges else None
            yield "host"
        for endpoint in change.endpoints_removed:
            self.endpoints.pop(endpoint)
            yield "endpoints_removed"
        for prefix in change.ipcache_removed:
            del self.ipcache[prefix]
            yield "ipcache_removed"
        for identity in change.identities_removed:
            del self.identity_classes[identity]
            yield "identities_removed"
        for name, keys in change.rows_removed.items():
            assert not {key.class_id for key in keys} & set(self.identity_classes.values())
            for key in keys:
                del self.rule_sets[name][key]
            yield "rows_removed"
        for name in change.rule_sets_removed:
            del self.rule_sets[name]
        plans = (*self.endpoints.values(), *([self.host] if self.host else ()))
        assert all(pointed(plan) <= self.rule_sets.keys() for plan in plans)
        for content in change.layer7_sets_removed:
            del self.layer7_sets[content]
        named = {verdict.layer7 for rows in self.rule_sets.values() for verdict in rows.values()}
        assert named - {NO_LAYER7} == self.layer7_sets.keys()
        for number in change.rules_removed:
            del self.rules[number]
        yield "rules_removed"

    def apply(self, change: Change) -> None:
        for _ in self.steps(change):
            pass

    def snapshot(self) -> Snapshot:
        return Snapshot(
            self.rules,
            {name: RuleSet(rows) for name, rows in self.rule_sets.items()},
            self.identity_classes,
            self.ipcache,
            self.endpoints,
            self.layer7_sets,
            self.host,
        )

    def identity(self, address: bytes, local: dict[bytes, EndpointId]) -> Identity:
        """Whose an address is; ``local`` is the map of this node's endpoints' addresses."""
        owner = local.get(address)
        if owner is not None and owner in self.endpoints:
            plan = self.endpoints[owner]
            return plan.ipv4 if Prefix(address, 128).is_ipv4 else plan.ipv6
        best = max(
            (prefix for prefix in self.ipcache if prefix.contains(Prefix(address, 128))),
            key=lambda prefix: prefix.length,
            default=None,
        )
        if best is not None:
            return self.ipcache[best]
        ipv4 = Prefix(address, 128).is_ipv4
        return Identity(ReservedIdentity.WORLD_IPV4 if ipv4 else ReservedIdentity.WORLD_IPV6)

    def judge(
        self, endpoint: EndpointId, direction: Direction, peer: Identity, protocol: int, port: int
    ) -> Verdict:
        plan = self.endpoints[endpoint]
        name = plan.ingress if direction is Direction.INGRESS else plan.egress
        return Verdict(VerdictKind.ALLOW) if name is None else self.look_up(name, peer, protocol, port)

    def judge_beside(
        self, endpoint: EndpointId, direction: Direction, peer: Identity, protocol: int, port: int
    ) -> Verdict | None:
        plan = self.endpoints[endpoint]
        name = plan.shadow_ingress if direction is Direction.INGRESS else plan.shadow_egress
        return None if name is None else self.look_up(name, peer, protocol, port)

    def look_up(self, name: RuleSetId, peer: Identity, protocol: int, port: int) -> Verdict:
        rows = self.rule_sets[name]
        class_id = self.identity_classes.get(peer, ClassId(0))
        for asked in (class_id, ClassId(0)):
            for bits in range(24, -1, -1):
                verdict = rows.get(longest_key(asked, bits, protocol, port))
                if verdict is not None:
                    return verdict
        return DEFAULT_DENY


def pointed(plan: EndpointPlan) -> set[RuleSetId]:
    """Every rule set that an endpoint points at."""
    return {name for name in plan.rule_sets if name is not None}


def longest_key(class_id: ClassId, bits: int, protocol: int, port: int) -> RuleSetKey:
    word = (protocol << 16 | port) >> (24 - bits) << (24 - bits)
    return RuleSetKey(class_id, bits, word >> 16, word & 0xFFFF)
