"""``kinety status``: the agent at a glance."""

import time

import click

from kinety.api.client import Client
from kinety.api.decode import encode
from kinety.api.overview import Reconciliation, Status
from kinety.cli.online import online
from kinety.cli.output import amount, counted, output_option, print_fields, table


def _loaded(value: Status) -> str:
    datapath = value.datapath
    how = "adopted" if datapath.adopted else "loaded"
    what = f"{counted(len(datapath.programs), 'program')} and {counted(len(datapath.maps), 'map')}"
    return f"{what}, {how} in {datapath.load_seconds * 1000:.0f} ms"


def _programs(value: Status) -> str:
    """Which programs judge, and what they were told when they were loaded."""
    switches = encode(value.datapath.configuration).items()
    told = ", ".join(f"{'' if on else 'no-'}{name.replace('_', '-')}" for name, on in switches)
    return f"version {value.datapath.version}: {told}"


_FIELDS = {
    "Agent": lambda s: f"kinety {s.version}, pid {s.pid}, up {_duration(time.time() - s.started)}",
    "Memory": lambda s: amount(s.memory),
    "State": lambda s: s.state_dir,
    "Kernel": lambda s: _reconciliation(s.reconciliation),
    "Endpoints": lambda s: f"{s.endpoints}, {s.datapath.endpoints_ready} ready",
    "Policies": lambda s: (
        f"{s.policies} with {counted(s.rules, 'rule')} in {counted(s.datapath.rule_sets, 'rule set')}"
    ),
    "Identities": lambda s: s.identities,
    "Addresses": lambda s: "; ".join(f"{p.used} of {p.size} in {p.prefix}" for p in s.pools) or "no pool",
    "Events": lambda s: f"{s.subscribers} watching",
    "Loaded": _loaded,
    "Programs": _programs,
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
