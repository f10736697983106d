"""The oracle asked in one line a question.

A probe is ``[SUBJECT] from PEER PROTOCOL/PORT`` (ingress) or ``[SUBJECT] to PEER PROTOCOL/PORT`` (egress),
then what is expected: the verdict, and the rule that decided, ``POLICY PATH``; none is a default.
"""

from typing import Any

import yaml

from kinety.testing.oracle import Opinion, Oracle, Party

_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58, "gre": 47}
_NAMESPACE = "io.kubernetes.pod.namespace"
_NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels."
#: Labels, namespace, number of the address, and ports of the endpoints; ``s`` is the subject.
_ENDPOINTS: dict[str, tuple[dict[str, str], str, int, dict[str, str]]] = {
    "s": ({"app": "s"}, "default", 1, {"web": "tcp/80", "dns": "udp/53"}),
    "a": ({"app": "a"}, "default", 2, {"web": "tcp/8080"}),
    "b": ({"app": "b"}, "default", 3, {"web": "tcp/81"}),
    "a-front": ({"app": "a", "tier": "front"}, "default", 4, {}),
    "foreign": ({"app": "a"}, "red", 5, {"web": "tcp/80"}),
}
_TEAMS = {"default": {}, "red": {"team": "red"}}
CAST = {
    "host": Party("host", frozenset({("node", "zone", "east")}), "192.0.2.254"),
    "node": Party("remote-node", frozenset({("node", "zone", "west")}), "192.0.2.253"),
    "world": Party("outside", address="203.0.113.1"),
    "world6": Party("outside", address="2a00::1"),
    "wide": Party("outside", address="198.51.7.1"),
    "narrow": Party("outside", address="198.51.100.1"),
    "example": Party("outside", address="203.0.113.9", names=frozenset({"www.example.com"})),
}


def _endpoint(name: str, family: int) -> Party:
    labels, namespace, number, ports = _ENDPOINTS[name]
    triples = {("k8s", key, value) for key, value in labels.items()} | {("k8s", _NAMESPACE, namespace)}
    triples |= {("k8s", _NAMESPACE_LABELS + key, value) for key, value in _TEAMS[namespace].items()}
    named = frozenset((text, *_traffic(value)) for text, value in ports.items())
    address = f"10.0.0.{number}" if family == 4 else f"fd00::{number}"
    return Party("endpoint", frozenset(triples), address, named)


def party(name: str) -> Party:
    """Somebody of the cast; ``a/6`` is endpoint ``a`` at its IPv6 address."""
    short, _, family = name.partition("/")
    return _endpoint(short, int(family or 4)) if short in _ENDPOINTS else CAST[name]


def _traffic(text: str) -> tuple[int, int]:
    protocol, _, port = text.partition("/")
    return _PROTOCOLS[protocol], int(port)


def documents(text: str) -> list[dict[str, Any]]:
    """The documents of a YAML stream."""
    return [each for each in yaml.safe_load_all(text) if each is not None]


def opinion(text: str, question: str, **options: bool) -> Opinion:
    """What the oracle says to one question without an expectation."""
    words = question.split()
    if words[0] in ("from", "to"):
        words.insert(0, "s")
    subject, way, peer, traffic = words
    direction = {"from": "ingress", "to": "egress"}[way]
    return Oracle(documents(text), **options).judge(
        party(subject), direction, party(peer), *_traffic(traffic)
    )


def check(text: str, probes: str, **options: bool) -> None:
    """Ask every probe of some documents."""
    for line in probes.strip().splitlines():
        words = line.split()
        asked = 4 if words[0] not in ("from", "to") else 3
        verdict, *rule = words[asked:]
        found = opinion(text, " ".join(words[:asked]), **options)
        assert found.verdict == verdict, line
        assert found.rules == (frozenset({(rule[0], f"spec.{rule[1]}")}) if rule else frozenset()), line
