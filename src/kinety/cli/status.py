"""``kinety status``: the agent at a glance."""

import time

import click

from kinety.api.client import Client
from kinety.api.decode import encode
from kinety.api.overview import NodeState, Reconciliation, Status
from kinety.cli.online import online
from kinety.cli.output import amount, counted, output_option, print_fields, table


def _loaded(value: Status) -> str:
    datapath = value.datapath
    how = "adopted" if datapath.adopted else "loaded"
    what = f"{counted(len(datapath.programs), 'program')} and {counted(len(datapath.maps), 'map')}"
    return f"{what}, {how} in {datapath.load_seconds * 1000:.0f} ms"


def _attached(value: Status) -> str:
    datapath = value.datapath
    links = f"tcx links, {datapath.endpoints_promoted} of {counted(datapath.endpoints, 'endpoint')}"
    how = links if datapath.tcx or datapath.endpoints_promoted else "clsact filters"
    return f"by {how}" if datapath.tcx else f"by {how}; tcx: no"


def _addresses(value: Status) -> str:
    said = [
        f"{pool.used} of {pool.size} in {pool.prefix}"
        + (f", {pool.quarantined} in quarantine" if pool.quarantined else "")
        for pool in value.pools
    ]
    if value.addresses_outside:
        said.append(
            f"{value.addresses_outside} outside of the pools" if said else f"{value.addresses_outside}"
        )
    return "; ".join(said if value.pools else [*said, "no pool"])


_EVENTS = {"flows": "new flows, drops and changes", "drops": "drops and changes"}


def _events(value: Status) -> str:
    told = _EVENTS.get(value.datapath.configuration.events)
    return f"{told}, {value.subscribers} watching" if told else "none"


def _without(value: Status) -> str:
    """What the programs have no code for."""
    missing = [
        name for name, there in encode(value.datapath.configuration).items() if there in (False, "none")
    ]
    return ", ".join(missing) or "nothing"


def _proxies(value: Status) -> str:
    """Those that serve something, or should and do not."""
    said = [
        f"{each.name}: {each.problem}"
        if each.problem
        else f"{each.name}, {counted(each.listeners, 'listener')}"
        for each in value.proxies
    ]
    return "; ".join(said) or "none"


def _names(value: Status) -> str:
    names = value.names
    said = [f"{counted(names.known, 'mapping')} of at most {names.room}"]
    said += [f"{names.held} held by open flows"] if names.held else []
    said += [f"{names.evicted} gone before their time"] if names.evicted else []
    if lost := names.refused + names.crowded:
        said.append(f"{counted(lost, 'answer')} not learnt")
    return ", ".join(said)


def _runtimes(value: Status) -> str:
    said = [f"{each.name}: {each.problem}" if each.problem else each.name for each in value.runtimes]
    return "; ".join(said) or "none"


_FIELDS = {
    "Agent": lambda s: f"kinety {s.version}, pid {s.pid}, up {_duration(time.time() - s.started)}",
    "Memory": lambda s: amount(s.memory),
    "State": lambda s: s.state_dir,
    "Kernel": lambda s: _reconciliation(s.reconciliation),
    "Endpoints": lambda s: f"{s.endpoints}, {s.datapath.endpoints_ready} ready",
    "Attached": _attached,
    "Node": lambda s: _node(s.node),
    "Policies": lambda s: (
        f"{s.policies} with {counted(s.rules, 'rule')} in {counted(s.datapath.rule_sets, 'rule set')}"
    ),
    "Identities": lambda s: s.identities,
    "Addresses": _addresses,
    "Proxies": _proxies,
    "Names": _names,
    "Runtimes": _runtimes,
    "Events": _events,
    "Without": _without,
    "Loaded": _loaded,
    "Programs": lambda s: f"version {s.datapath.version}",
}


@click.command()
@output_option
@online
def status(client: Client, output: str) -> None:
    """Show how the agent is doing, what it loaded, and what packets met."""
    value = client.status()
    print_fields(output, value, _FIELDS)
    if output != "table":
        return
    if value.datapath.programs:
        click.echo()
        rows = [
            (p.name, p.id, p.instructions, p.verified_instructions, p.jited_bytes)
            for p in value.datapath.programs
        ]
        click.echo(table(["PROGRAM", "ID", "INSTRUCTIONS", "VERIFIED INSTRUCTIONS", "JITED BYTES"], rows))
    if value.counters:
        click.echo()
        counts = [(c.packets, c.bytes, c.direction, c.sentence) for c in value.counters]
        click.echo(table(["PACKETS", "BYTES", "DIRECTION", "WHAT BECAME OF THEM"], counts))


def _node(state: NodeState) -> str:
    ways = [name for name, judged in (("egress", state.egress), ("ingress", state.ingress)) if judged]
    if not ways:
        return "no policy selects it"
    said = f"{' and '.join(ways)} by policy"
    if state.audit:
        return f"{said}, in audit"
    return said if state.judged else f"{said}, but not judged"


def _reconciliation(state: Reconciliation) -> str:
    if state.error is None:
        return state.state
    retry = "" if state.retry_seconds is None else f", again in {state.retry_seconds:.0f} s"
    return f"{state.state}: {state.error} ({counted(state.attempts, 'attempt')}{retry})"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
