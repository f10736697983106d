"""Policies and verdicts of the reference engine, as tests read them.

A case is a set of documents and flows between identities of a fixed cast. Documents that the engine
refuses are named; the rest of the set applies.
"""

import json
import lzma
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import IPv4Network
from typing import Any

from kinety.model.label import CIDR, Label, Labels
from kinety.model.rule import Policy
from kinety.policy.document import Document
from kinety.policy.error import PolicyError
from kinety.policy.parse import parse_policies
from tests.feature import CONFORMANCE

PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_IPV4_PREFIX = re.compile(r"\"(\d+\.\d+\.\d+\.\d+(?:/\d+)?)\"")
#: Identities from here on are prefixes; their own side of a verdict means nothing.
FIRST_PREFIX = 1 << 24


@dataclass(frozen=True, slots=True)
class Flow:
    source: Labels
    target: Labels
    protocol: int
    port: int
    #: What the engine says, None where the subject is no endpoint.
    egress: str | None
    ingress: str | None


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    documents: tuple[dict[str, Any], ...]
    errors: tuple[str, ...]
    flows: tuple[Flow, ...]


@cache
def data(name: str) -> Any:
    with lzma.open(CONFORMANCE / f"{name}.json.xz", "rt") as stream:
        return json.load(stream)


def labels(texts: Iterable[str]) -> Labels:
    return frozenset(Label.parse(text) for text in texts)


def flow(
    identities: dict[int, Labels], source: int, target: int, protocol: str, port: int, said: str
) -> Flow:
    egress, ingress = said.split("/")
    return Flow(
        identities[source],
        identities[target],
        PROTOCOLS[protocol],
        port,
        egress if source < FIRST_PREFIX else None,
        ingress if target < FIRST_PREFIX else None,
    )


def random_cases() -> Iterator[Case]:
    found = data("cnp-random")
    identities = {int(number): labels(texts) for number, texts in found["identities"].items()}
    for case in found["cases"]:
        flows = tuple(flow(identities, *each) for each in case["flows"])
        yield Case(case["n"], tuple(case["policies"]), tuple(case["errors"] or ()), flows)


def connectivity_cases() -> Iterator[Case]:
    found = data("cnp-connectivity")
    identities = {int(number): labels(each["labels"]) for number, each in found["identities"].items()}
    for case in found["cases"]:
        flows = tuple(
            flow(identities, each["from"], each["to"], each["proto"], each["port"], each["verdict"])
            for each in case["verdicts"] or ()
            if not each["verdict"].startswith("error")
        )
        yield Case(case["name"], tuple(case["policies"]), tuple(case["errors"] or ()), flows)


def network_policy_steps() -> Iterator[tuple[int, dict[str, Any]]]:
    """What Kubernetes' own cases come to, one after the other: number of the case, and a step of it.

    The data leaves out what its policies have in common: of which kind they are.
    """
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    for number, case in enumerate(data("knp-cyclonus")):
        for step in case["Steps"]:
            yield number, {**step, "Policies": [{**kind, **each} for each in step["Policies"]]}


def parsed(case: Case) -> tuple[list[Policy], dict[int, PolicyError]]:
    """The policies of a case one by one, and the errors of those that are refused."""
    policies: list[Policy] = []
    refused: dict[int, PolicyError] = {}
    for number, document in enumerate(case.documents):
        try:
            policies += parse_policies([Document(f"{number}.json", json.dumps(document))])
        except PolicyError as error:
            refused[number] = error
    return policies, refused


def is_later(error: PolicyError) -> bool:
    return all("not supported yet" in finding.message for finding in error.findings)


def refused_by_the_engine(case: Case) -> set[int]:
    return {int(each.split()[1].rstrip(":")) for each in case.errors if each.startswith("policy ")}


def as_understood(value: Any) -> Any:
    """Documents with the entity ``cluster`` replaced by what the engine took it for.

    The tool that computed the verdicts had not told the engine which labels make a cluster. So the entity
    had no selector there, and the engine takes a list without selectors for anybody when ports stand
    beside it, and for nobody otherwise.
    """
    if isinstance(value, list):
        return [as_understood(each) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: as_understood(inner) for key, inner in value.items()}
    for key in ("fromEntities", "toEntities"):
        if "cluster" in made.get(key, ()):
            made[key].remove("cluster")
            if not made[key] and "toPorts" in made:
                del made[key]
    return made


def understood(case: Case) -> Case:
    """A case whose documents say what the engine took them for."""
    return replace(case, documents=tuple(map(as_understood, case.documents)))


def prefix_of(identity: Labels) -> IPv4Network | None:
    """The prefix that an identity of the data is, if it is one."""
    for label in identity:
        if label.source == CIDR:
            return IPv4Network(label.key)
    return None


def named_prefixes(case: Case) -> list[IPv4Network]:
    """All prefixes that a case's documents name."""
    return [IPv4Network(each, strict=False) for each in _IPV4_PREFIX.findall(json.dumps(case.documents))]


def address_in(prefix: IPv4Network, named: list[IPv4Network]) -> str:
    """An address of a prefix that no narrower one of the ``named`` holds."""
    inner = [each for each in named if each != prefix and each.subnet_of(prefix)]
    return str(next(each for each in prefix if not any(each in one for one in inner)))


def is_server(identity: Labels) -> bool:
    """Whether an identity of the data has the port ``http-8080``, the one that is named there."""
    return Label("k8s", "kind", "echo") in identity


def names_cluster(case: Case) -> bool:
    """Whether the entity ``cluster`` is in it, which the data's verdicts say nothing about."""
    return '"cluster"' in json.dumps(case.documents)
