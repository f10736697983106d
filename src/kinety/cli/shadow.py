"""``kinety policy shadow``: what policies that are not in force would do, and putting them into force."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from kinety.api.decode import encode
from kinety.cli.online import online
from kinety.cli.output import counted, output_option, print_value, table, text
from kinety.cli.policy_name import find_policy
from kinety.cli.policy_result import print_result
from kinety.cli.suggestion import policy_names

if TYPE_CHECKING:
    from kinety.api.client import Client
    from kinety.api.shadow import ShadowChange, ShadowPolicy, ShadowReport
    from kinety.api.types import EventRule

_HEADERS = (
    "WOULD",
    "ENDPOINT",
    "DIRECTION",
    "PEER",
    "TRAFFIC",
    "RULE",
    "IN FORCE",
    "FLOWS",
    "PACKETS",
    "LAST SEEN",
)


@click.group()
def shadow() -> None:
    """Policies that are staged or in audit: what would change, and putting them into force."""


@shadow.command()
@output_option
@online
def report(client: "Client", output: str) -> None:
    """Tell what policies that are staged or in audit would have changed so far, flow by flow."""
    found = client.shadow_report()
    if output != "table":
        print_value(output, encode(found))
        return
    click.echo("\n\n".join(_parts(found)))


@shadow.command()
@click.argument(
    "names", nargs=-1, required=True, metavar="[[KIND/]NAMESPACE/]NAME...", shell_complete=policy_names
)
@output_option
@online
def promote(client: "Client", names: tuple[str, ...], output: str) -> None:
    """Put policies into force; returns when they are, on every endpoint.

    The agent's documents lose the annotation that kept them out of force; so should yours.
    """
    policies = client.policies()
    for found in [find_policy(policies, name) for name in names]:
        print_result(client.promote(found.kind, found.namespace, found.name), output)


def _parts(found: "ShadowReport") -> Iterator[str]:
    if not found.policies:
        yield "no policy is staged or in audit"
    for policy in found.policies:
        yield f"{_headline(policy)}\n{_changes(policy)}"
    for who, names in (("namespace", found.audited_namespaces), ("endpoint", found.audited_endpoints)):
        if names:
            yield f"{who}s in audit: {', '.join(map(text, names))}"
    if found.audited_node:
        yield "the node itself is in audit"
    if found.lost:
        yield f"{counted(found.lost, 'packet')} not counted: the map shadow_counters was full"


def _headline(policy: "ShadowPolicy") -> str:
    name = "/".join(filter(None, (policy.kind, policy.namespace, policy.name)))
    endpoints = counted(policy.endpoints, "endpoint")
    return f"{text(name)} ({policy.mode}, {text(policy.file)}:{policy.line}), {endpoints}"


def _changes(policy: "ShadowPolicy") -> str:
    if not policy.changes:
        return "nothing would have changed so far"
    return table(_HEADERS, [_row(change) for change in policy.changes])


def _row(change: "ShadowChange") -> tuple[object, ...]:
    peer = change.peer
    who = peer.endpoint or ",".join(label for label in peer.labels if label.startswith("reserved:"))
    return (
        change.would,
        change.endpoint,
        change.direction,
        f"{who or '?'}({peer.identity}) {peer.address}",
        f"{peer.protocol} {peer.port}",
        _rule(change.rule, "default deny"),
        _rule(change.rule_in_force, "default"),
        change.flows,
        change.packets,
        time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(change.last_seen)),
    )


def _rule(rule: "EventRule", default: str) -> str:
    if rule.id == 0:
        return default
    return f"{rule.file}:{rule.line}" if rule.file and rule.line else f"rule {rule.id}"
