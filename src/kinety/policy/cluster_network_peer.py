"""Whom ``policy.networking.k8s.io`` rules are about: pods, and on egress nodes, networks and names.

Networks are about addresses whoever has them, pods included: "cluster-internal traffic will be checked
against the rule as well" (the API's reference, "Networks").
"""

from collections.abc import Iterator, Sequence

from kinety.model.rule import Action
from kinety.model.selector import BlockSelector, FqdnSelector, LabelSelector, PeerSelector
from kinety.policy.choice import check_length, given, only
from kinety.policy.cidr import EVERYWHERE, prefix_of
from kinety.policy.cluster_network_port import names_ports
from kinety.policy.cluster_network_schema import BaselinePeer, EgressPeer, Pods, Rule
from kinety.policy.document import Path
from kinety.policy.domain import pattern_of
from kinety.policy.kubernetes_selection import pods_of_namespaces
from kinety.policy.report import Report
from kinety.policy.selection import node_peers

#: Networks or domain names in one peer.
MAX_ADDRESSES = 25


def pods_of(report: Report, path: Path, item: Pods) -> LabelSelector:
    """The pods of a subject, or of a peer that names pods."""
    only(report, path, item)
    if item.pods is not None:
        where = (*path, "pods")
        return pods_of_namespaces(
            report,
            (*where, "namespaceSelector"),
            item.pods.namespaces,
            (*where, "podSelector"),
            item.pods.pods,
        )
    if item.namespaces is not None:
        return pods_of_namespaces(report, (*path, "namespaces"), item.namespaces)
    return LabelSelector()


def peers_of(
    report: Report, path: Path, item: Rule, action: Action, longest: int
) -> tuple[PeerSelector, ...]:
    """The peers of a rule; ``path`` leads to the list, which has at most ``longest`` items."""
    peers: Sequence[Pods] = item.peers
    if not peers:
        hint = f"write `{path[-1]}: [{{namespaces: {{}}}}]` for every pod"
        report.add(path, "the list names nobody", hint)
    check_length(report, path, peers, longest, "peers", "make a second rule")
    found: dict[PeerSelector, None] = {}
    for index, peer in enumerate(peers):
        where = (*path, index)
        if isinstance(peer, BaselinePeer) and not given(peer).keys() <= {"namespaces", "pods"}:
            found |= dict.fromkeys(_others(report, where, peer, item, action))
        else:
            found[pods_of(report, where, peer)] = None
    return tuple(found)


def _others(
    report: Report, path: Path, peer: BaselinePeer, item: Rule, action: Action
) -> Iterator[PeerSelector]:
    """Peers that are no pods."""
    field = only(report, path, peer)
    if field is None:
        return
    where = (*path, field)
    if names_ports(item):
        message = f"{field} and ports by name cannot be in one rule: {field} have no named ports"
        report.add(where, message, "write the ports' numbers, or make a second rule")
    if peer.nodes is not None:
        yield from node_peers(report, where, peer.nodes)
    if peer.networks is not None:
        _check_list(report, where, peer.networks)
        for index, text in enumerate(peer.networks):
            yield BlockSelector(prefix_of(report, (*where, index), text) or EVERYWHERE)
    if isinstance(peer, EgressPeer) and peer.domains is not None:
        _check_list(report, where, peer.domains)
        if action is not Action.ALLOW:
            hint = "allow the names, and deny everything else in a rule below"
            report.add(where, f"domainNames cannot be in a rule that says {item.action}", hint)
        for index, text in enumerate(peer.domains):
            yield from _domain(report, (*where, index), text)


def _check_list(report: Report, path: Path, items: list[str]) -> None:
    check_length(report, path, items, MAX_ADDRESSES, str(path[-1]), "make a second item")
    if not items:
        report.add(path, "the list names nobody", "remove it, or name somebody")


def _domain(report: Report, path: Path, text: str) -> Iterator[FqdnSelector]:
    """The names a text stands for; ``*.`` at the front stands for one label and more here."""
    tail = text.removeprefix("*.")
    if "*" in tail:
        hint = "write *.example.com for the names below example.com"
        report.add(path, f"{text!r}: * stands for whole labels at the front only", hint)
        return
    pattern = pattern_of(report, path, text if tail == text else f"**.{tail}")
    if pattern is not None:
        yield FqdnSelector(pattern)
