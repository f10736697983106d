"""``kinety monitor``: new flows and drops as they happen."""

import json
import time

import click

from kinety.api.client import Client
from kinety.api.decode import encode
from kinety.api.errors import AgentUnreachable
from kinety.api.insight import Denial
from kinety.api.proxy import Request
from kinety.api.types import EVENT_KINDS, Event, EventEnd, EventRule
from kinety.cli.explanation import failures_text
from kinety.cli.online import online
from kinety.cli.output import text
from kinety.cli.suggestion import endpoint_names


@click.command()
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(EVENT_KINDS), help="Only this kind; may be repeated."
)
@click.option(
    "--endpoint",
    metavar="[NAMESPACE/]NAME",
    help="Only flows of this endpoint.",
    shell_complete=endpoint_names,
)
@click.option("--direction", type=click.Choice(["egress", "ingress"]), help="Only this direction.")
@click.option("--verdict", type=click.Choice(["allow", "deny", "redirect"]), help="Only this verdict.")
@click.option("--protocol", help="Only this protocol: TCP, UDP, ICMP, ICMPv6 or a number.")
@click.option("--port", type=click.IntRange(0, 65535), help="Only flows with this port at either end.")
@click.option("--address", help="Only flows with this address at either end.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many events.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="One line an event for people; one JSON object a line; or YAML documents.",
)
@online
def monitor(
    client: Client, kinds: tuple[str, ...], count: int | None, output: str, **filters: str | int | None
) -> None:
    """Show new flows, drops and changed verdicts with the rule that decided, until interrupted.

    Ends with status 3 when the agent stops.
    """
    parameters = {name: str(value) for name, value in filters.items() if value is not None}
    if kinds:
        parameters["kind"] = ",".join(kinds)
    stream = client.events(parameters)
    click.echo("watching", err=True)
    for number, event in enumerate(stream, 1):
        click.echo(_line(event) if output == "table" else _structured(event, output))
        if number == count:
            return
    raise AgentUnreachable("the agent has stopped, and its events with it")


def _structured(event: Event, output: str) -> str:
    if output == "json":
        return json.dumps(encode(event), ensure_ascii=False)
    import yaml

    return "---\n" + yaml.safe_dump(encode(event), sort_keys=False, allow_unicode=True).rstrip()


def _line(event: Event) -> str:
    milliseconds = int(event.time * 1000) % 1000
    when = time.strftime("%H:%M:%S", time.localtime(event.time)) + f".{milliseconds:03d}"
    if event.kind == "lost":
        return f"{when} lost            {event.count} events came too fast"
    if event.request is not None:
        return f"{when} {_request(event, event.request)}"
    if event.kind == "shadow":
        return f"{when} {_shadow(event)}"
    flow = f"{_end(event.source)} -> {_end(event.destination)} {text(event.protocol)}"
    kind, direction, verdict = (text(part) for part in (event.kind, event.direction, event.verdict))
    return f"{when} {kind:<14} {direction:<7} {verdict:<5} {flow}  {text(event.sentence)}{_decided(event)}"


def _decided(event: Event) -> str:
    """What decided: hook or rule; of a denial by default, who isolates the endpoint and what came nearest."""
    if event.hook is not None:
        return f"  [hook {text(event.hook)}]"
    rule = event.rule
    if rule is None:
        return ""
    if rule.file is not None:
        said = f" {text(rule.log)}" if rule.log else ""
        return f"  [{text(rule.file)}:{rule.line}{said}]"
    if event.reason != "policy-denied":
        return ""
    if rule.id:
        return f"  [rule {rule.id}]"
    return f"  [default deny{_denial(event.denial)}]"


def _denial(found: Denial | None) -> str:
    if found is None:
        return ""
    by = f" by {', '.join(map(text, found.isolated_by))}" if found.isolated_by else ""
    near = found.nearest
    return by if near is None else f"{by}; near {text(near.place.rule)}, {failures_text(near)}"


def _request(event: Event, request: Request) -> str:
    """What was asked of a proxy, what came of it, and by which policies."""
    flow = f"{_end(event.source)} -> {_end(event.destination)} {text(event.protocol)}"
    asked = " ".join(text(part) for part in (request.method, request.host, request.path) if part)
    if request.kind == "tls":
        asked = f"{asked or 'no name'} reset"
    took = "" if request.milliseconds is None else f" after {request.milliseconds:.1f} ms"
    status = "" if request.status is None else f" {request.status}"
    why = f" ({text(request.why)})" if request.why else ""
    rule = event.rule
    place = (f"{text(rule.file)}:{rule.line}",) if rule is not None and rule.file else ()
    parts = " ".join((*place, ", ".join(map(text, request.policies)))).strip()
    by = f"  [{parts}]" if parts else ""
    kind, direction, verdict = f"{request.kind}-request", text(event.direction), text(event.verdict)
    return f"{kind:<14} {direction:<7} {verdict:<5} {flow}  {asked}{status}{why}{took}{by}"


def _shadow(event: Event) -> str:
    """What a flow met is not what it would have met."""
    kind, direction, met = text(f"would-{event.would}"), text(event.direction), text(event.verdict_in_force)
    flow = f"{_end(event.source)} -> {_end(event.destination)} {text(event.protocol)}"
    by, now_by = _by(event.rule), _by(event.rule_in_force)
    return f"{kind:<14} {direction:<7} {met:<5} {flow}  [{by}; now {met} by {now_by}]"


def _by(rule: EventRule | None) -> str:
    if rule is None or rule.id == 0:
        return "default"
    mode = "" if rule.mode == "enforced" else f" {rule.mode}"
    return f"{text(rule.file)}:{rule.line}{mode}" if rule.line else f"rule {rule.id}"


def _end(end: EventEnd | None) -> str:
    if end is None:
        return "?"
    host = f"[{end.address}]" if ":" in end.address else end.address
    who = end.endpoint or ",".join(end.labels) or "?"
    return f"{text(who)}({end.identity}) {host}:{end.port}"
