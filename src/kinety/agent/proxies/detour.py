"""What rules about content are about to cost: told to whoever applies them.

A proxy takes a flow apart and puts it together again. That is several times the work of letting it pass,
and a flow that is open already cannot be taken over in the middle: it is reset, and comes back.
"""

from collections.abc import Iterable

from kinety.agent.store import EndpointRecord
from kinety.datapath.live_flows import LiveFlow, LiveFlows
from kinety.model.endpoint import EndpointId
from kinety.model.rule import Direction
from kinety.model.verdict import VerdictKind
from kinety.plan.change import Change
from kinety.plan.engine import Engine

#: Protocols of which proxies have a notion.
_TCP, _UDP = 6, 17


def warnings(
    engine: Engine,
    change: Change,
    records: Iterable[EndpointRecord],
    flows: LiveFlows,
) -> tuple[str, ...]:
    """How many endpoints' flows, and how many that are open now, go through a proxy after a change.

    ``engine`` is as it will be; ``records`` are all endpoints. Nothing is looked at when none of them gets
    rules about content. Where the change is in force already, connections that it has reset are counted as
    well, but for a few of which the end was seen.
    """
    redirecting = {
        key
        for key, table in change.rule_sets.items()
        if any(verdict.kind is VerdictKind.REDIRECT for verdict in table.rows.values())
    }
    subjects = {
        endpoint
        for endpoint, plan in change.endpoints.items()
        if plan.egress in redirecting or plan.ingress in redirecting
    }
    if not subjects:
        return ()
    owners = {
        address: own.id
        for own in (each.endpoint for each in records)
        for address in (own.ipv4, own.ipv6)
        if own.id in subjects and address is not None
    }
    taken = sum(
        count
        for flow, count in flows.of(owners.keys()).items()
        if not flow.redirected and _goes_through(engine, owners, flow)
    )
    who = "1 endpoint" if len(subjects) == 1 else f"{len(subjects)} endpoints"
    text = (
        f"flows of {who} that these rules are about go through a proxy, at several times the cost of passing"
    )
    if taken:
        text += f"; {taken} flow{'s' if taken > 1 else ''} open now will be reset, to come back through it"
    return (text,)


def _goes_through(engine: Engine, owners: dict[bytes, EndpointId], flow: LiveFlow) -> bool:
    sides = (
        (flow.source, flow.destination, Direction.EGRESS),
        (flow.destination, flow.source, Direction.INGRESS),
    )
    return flow.protocol in (_TCP, _UDP) and any(
        engine.verdict(
            owners[own], direction, engine.identity_of_address(peer), flow.protocol, flow.port
        ).kind
        is VerdictKind.REDIRECT
        for own, peer, direction in sides
        if own in owners
    )
