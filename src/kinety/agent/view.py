"""What the agent knows, as the values of the API. Runs on the worker thread; changes nothing."""

import os
import re
from collections import Counter as Tally
from pathlib import Path

from kinety import __version__
from kinety.abi import MAPS
from kinety.agent.control import Control
from kinety.agent.declaration import Declaration
from kinety.agent.store import EndpointRecord
from kinety.agent.stream import word
from kinety.agent.unjudged import NODE
from kinety.api import address, overview, types
from kinety.api.errors import refuse
from kinety.datapath.interface import GATEWAY_IPV4, GATEWAY_IPV6
from kinety.datapath.settings import Settings
from kinety.datapath.statistics import ProgramStatistics
from kinety.model.address import unpack_address
from kinety.model.bandwidth import Bandwidth, Rate
from kinety.model.identity import Identity, ReservedIdentity
from kinety.model.rule import Direction, Policy, PolicyKey
from kinety.plan.change import EndpointPlan, RuleSetId

#: Maps whose rows are not shown, and what to look at instead.
_WITHOUT_ROWS = {
    "events": "is a stream; `kinety monitor` shows what arrives",
    "lookups": "says something only while a program looks for a socket",
    "shadow_scratch": "holds rows while they are made; they are then in shadow_counters",
}
_SEPARATOR = re.compile(r"^---(?:\s|$)")


def endpoint(control: Control, record: EndpointRecord, seconds: float | None = None) -> types.Endpoint:
    """One endpoint."""
    own = record.endpoint
    plan: EndpointPlan = control.engine.endpoint_plan(own.id)
    interface = control.datapath.interface(own.id)
    bandwidth = _bandwidth(record.wishes.shape.bandwidth)
    return types.Endpoint(
        id=own.id,
        namespace=own.namespace,
        name=own.name,
        labels=tuple(sorted(map(str, own.labels))),
        identity=plan.identity,
        ipv4=_address(own.ipv4),
        ipv6=_address(own.ipv6),
        egress=_direction(plan.egress, plan.shadow_egress),
        ingress=_direction(plan.ingress, plan.shadow_ingress),
        netns=record.netns,
        interface=record.interface,
        host_interface=interface.name if interface else None,
        host_index=interface.index if interface else None,
        mtu=interface.mtu if interface else None,
        state="ready" if interface else "missing",
        port_names=tuple(sorted(map(str, own.listens))),
        host_ports=tuple(map(str, record.wishes.host_ports)),
        bandwidth=bandwidth,
        rate_exceeded=control.datapath.rates.dropped(interface.slot) if bandwidth and interface else 0,
        audit=own.audit,
        attach_seconds=seconds,
        attachment=record.attachment,
        mac=interface.container_mac.hex(":") if interface else None,
        host_mac=interface.host_mac.hex(":") if interface else None,
        gateways=tuple(
            str(gateway)
            for address, gateway in ((own.ipv4, GATEWAY_IPV4), (own.ipv6, GATEWAY_IPV6))
            if address is not None
        ),
    )


def endpoints(control: Control) -> tuple[types.Endpoint, ...]:
    """Every endpoint, by namespace and name."""
    return tuple(endpoint(control, control.endpoints[key]) for key in sorted(control.endpoints))


def policies(control: Control) -> tuple[types.Policy, ...]:
    """Every policy in force and what they refer to, by kind, namespace and name."""
    return tuple(_policy(key, control.declarations[key]) for key in sorted(control.declarations))


def _policy(key: PolicyKey, found: Declaration) -> types.Policy:
    file, line = _place(found)
    return types.Policy(key.kind, key.namespace, key.name, file, line, found.rules, found.mode.value)


def policy_text(control: Control, key: PolicyKey) -> types.PolicyText:
    """One policy with its document's text. Raises ApiError when there is none."""
    found = control.declarations.get(key)
    stored = control.store.policy_text(key)
    if found is None or stored is None:
        raise refuse(404, f"there is no policy {key}")
    file, line = _place(found)
    text = document_at(stored[1], line)
    return types.PolicyText(key.kind, key.namespace, key.name, file, line, found.rules, text)


def document_at(text: str, line: int) -> str:
    """The document of a YAML stream that a 1-based line is in."""
    lines = text.splitlines(keepends=True)
    starts = [number for number, content in enumerate(lines) if _SEPARATOR.match(content)]
    first = max((number + 1 for number in starts if number < line), default=0)
    last = min((number for number in starts if number >= line), default=len(lines))
    # A document may begin on the line of its separator.
    beside = lines[first - 1].removeprefix("---").lstrip() if first else ""
    return beside + "".join(lines[first:last])


def identities(control: Control) -> tuple[types.Identity, ...]:
    """Every identity with labels, by number."""
    engine = control.engine
    used = Tally(engine.endpoint_plan(record.endpoint.id).identity for record in control.endpoints.values())
    return tuple(
        types.Identity(
            number, tuple(sorted(map(str, labels))), engine.identity_classes.get(number, 0), used[number]
        )
        for number, labels in sorted(engine.identities.items())
    )


def rules(control: Control) -> tuple[types.Rule, ...]:
    """Every rule in force with its counters, by number."""
    numbers = sorted(control.engine.rules)
    counters = control.datapath.rule_counters(numbers)
    return tuple(
        types.Rule(
            id=number,
            policy=str(rule.origin.policy),
            file=rule.origin.file,
            line=rule.origin.line,
            path=rule.origin.path,
            direction=rule.direction.name.lower(),
            action=rule.action.value,
            packets=counters[number].packets if number in counters else 0,
            bytes=counters[number].bytes if number in counters else 0,
        )
        for number in numbers
        for rule in (control.engine.rules[number],)
    )


def addresses(control: Control) -> tuple[address.Address, ...]:
    """Every address that an endpoint has, or that nobody gets yet."""
    return tuple(
        address.Address(
            address=str(unpack_address(entry.lease.address)),
            state="in-use" if entry.lease.released is None else "quarantine",
            endpoint=entry.lease.owner,
            since=entry.lease.since,
            pool=None if entry.pool is None else str(entry.pool.prefix),
            quarantine_seconds=entry.seconds_left,
        )
        for entry in control.addresses.entries()
    )


def maps(control: Control) -> tuple[types.MapSummary, ...]:
    """The maps of the datapath."""
    return tuple(
        types.MapSummary(item.name, item.id, item.type, item.max_entries, item.memory)
        for item in control.datapath.statistics().maps
    )


def map_rows(control: Control, name: str, limit: int | None) -> types.MapRows:
    """Rows of a map. Raises ApiError for a name that is none."""
    try:
        return types.MapRows(name, tuple(control.datapath.dump(name, limit)))
    except KeyError as error:
        if name in MAPS and name not in {item.name for item in control.datapath.statistics().maps}:
            raise refuse(404, f"map {name!r} is not there: this agent's options do without it") from error
        if name in _WITHOUT_ROWS:
            raise refuse(400, f"map {name!r} {_WITHOUT_ROWS[name]}") from error
        known = ", ".join(control.datapath.map_names())
        raise refuse(404, f"there is no map {name!r}; there are {known}") from error


def status(control: Control, state_dir: Path, started: float, watchers: int) -> overview.Status:
    """The agent at a glance."""
    repair, book = control.repair, control.addresses
    return overview.Status(
        version=__version__,
        pid=os.getpid(),
        started=started,
        state_dir=str(state_dir),
        reconciliation=overview.Reconciliation(
            "retrying" if repair.pending else "in-sync",
            repair.error,
            repair.attempts,
            repair.wait if repair.pending else None,
        ),
        endpoints=len(control.endpoints),
        policies=len(control.policies),
        rules=sum(len(policy.rules) for policy in control.policies.values()),
        identities=len(control.engine.identities),
        addresses_outside=book.outside(),
        pools=tuple(
            overview.Pool(str(pool.prefix), pool.held, pool.size, pool.quarantined) for pool in book.pools
        ),
        subscribers=watchers,
        memory=_resident(),
        datapath=_datapath(control),
        node=_node(control),
        counters=_counters(control),
    )


def program(found: ProgramStatistics) -> overview.Program:
    """One program that is loaded."""
    return overview.Program(
        found.name, found.id, found.tag, found.instructions, found.verified_instructions, found.jited_bytes
    )


def configuration(settings: Settings) -> overview.Configuration:
    """What programs were told when they were loaded."""
    return overview.Configuration(**settings.switches())


def _datapath(control: Control) -> overview.DatapathStatus:
    statistics = control.datapath.statistics()
    return overview.DatapathStatus(
        adopted=statistics.adopted,
        load_seconds=statistics.load_seconds,
        contract=f"{statistics.contract:#x}",
        version=statistics.version,
        configuration=configuration(control.datapath.settings),
        programs=tuple(map(program, statistics.programs)),
        maps=maps(control),
        endpoints=statistics.endpoints,
        endpoints_ready=statistics.endpoints_ready,
        endpoints_promoted=statistics.endpoints_promoted,
        tcx=statistics.tcx,
        rule_sets=statistics.rule_sets,
        rule_sets_spare=statistics.rule_sets_spare,
        events_lost=statistics.events_lost,
        writes=statistics.writes,
    )


def _node(control: Control) -> overview.NodeState:
    host = control.datapath.host
    labels = control.engine.identities.get(Identity(ReservedIdentity.HOST), frozenset())
    tables = [(own or beside) is not None for own, beside in zip(*_halves(host.plan), strict=True)]
    return overview.NodeState(
        tuple(sorted(map(str, labels))),
        egress=tables[Direction.EGRESS],
        ingress=tables[Direction.INGRESS],
        audit=NODE in control.audited,
        judged=host.programs.attached,
    )


def _halves(plan: EndpointPlan) -> tuple[tuple[RuleSetId | None, ...], tuple[RuleSetId | None, ...]]:
    """Rule sets in force, and those beside, by direction."""
    return plan.rule_sets[:2], plan.rule_sets[2:]


def _counters(control: Control) -> tuple[overview.Counter, ...]:
    counted = sorted(control.datapath.counters().items())
    return tuple(
        overview.Counter(
            word(reason), reason.sentence, direction.name.lower(), counter.packets, counter.bytes
        )
        for (reason, direction), counter in counted
    )


def _place(found: Declaration) -> tuple[str, int]:
    """Where the first rule is, or where an object without rules begins."""
    rules = found.what.rules if isinstance(found.what, Policy) else ()
    return found.file, min((rule.origin.line for rule in rules), default=found.line)


def _address(packed: bytes | None) -> str | None:
    return None if packed is None else str(unpack_address(packed))


def _direction(rule_set: RuleSetId | None, beside: RuleSetId | None) -> types.DirectionState:
    return types.DirectionState(rule_set is not None, rule_set, beside)


def _bandwidth(bandwidth: Bandwidth) -> types.Bandwidth | None:
    egress, ingress = (each or Rate(0, 0) for each in (bandwidth.egress, bandwidth.ingress))
    if not egress.bits and not ingress.bits:
        return None
    return types.Bandwidth(egress.bits, egress.burst, ingress.bits, ingress.burst)


def _resident() -> int:
    """Bytes of memory the process has. Source: proc_pid_statm(5)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
