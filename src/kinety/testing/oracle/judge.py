"""Who wins: what all rules together say, tier after tier."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kinety.testing.oracle import cilium, cluster_network, kubernetes
from kinety.testing.oracle.content import kinds
from kinety.testing.oracle.party import Party
from kinety.testing.oracle.statement import Content, Question, Statement
from kinety.testing.oracle.surroundings import Surroundings

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Opinion:
    """A verdict and the rules any of which may be said to have decided it.

    The verdict is ``allow``, ``deny``, ``redirect`` (``content`` is what may then pass), or ``conflict``
    when two kinds of content are asked for at once. Rules are (policy name, path such as
    ``spec.ingress[0]``); an empty set is a default.
    """

    verdict: str
    rules: frozenset[tuple[str, str]] = frozenset()
    content: Content = frozenset()


class Oracle:
    """Answers questions about a set of documents."""

    def __init__(self, documents: Iterable[Document], *, allow_localhost: bool = True) -> None:
        self._documents = list(documents)
        self._around = Surroundings(self._documents)
        self._allow_localhost = allow_localhost

    def judge(
        self, subject: Party, direction: str, peer: Party, protocol: int, port: int, *, shadow: bool = False
    ) -> Opinion:
        """What a party's policy says in ``ingress`` or ``egress``; ``port`` is the type for ICMP.

        With ``shadow``, as if policies were in force that are staged or in audit.
        """
        question = Question(subject, direction, peer, protocol, port)
        said = [
            each
            for document in self._documents
            if shadow or _is_in_force(document)
            for each in self._statements(document, question)
        ]
        normal = [each for each in said if each.tier == "normal"]
        isolated = any(each.isolates for each in normal)
        if isolated and self._allow_localhost and direction == "ingress" and peer.kind == "host":
            normal.append(Statement("", "allow-localhost", "allow", False, (0, 65535)))
        return (
            _first(each for each in said if each.tier == "admin")
            or _together([each for each in normal if each.span is not None])
            or (Opinion("deny") if isolated else None)
            or _first(each for each in said if each.tier == "baseline")
            or Opinion("allow")
        )

    def _statements(self, document: Document, question: Question) -> Iterator[Statement]:
        kind = document["kind"]
        if kind in cilium.KINDS:
            yield from cilium.statements(document, question, self._around)
        elif kind in kubernetes.KINDS:
            yield from kubernetes.statements(document, question)
        elif kind in cluster_network.KINDS:
            yield from cluster_network.statements(document, question)


def _is_in_force(document: Document) -> bool:
    annotations = document["metadata"].get("annotations") or {}
    return "true" not in (annotations.get("kinety.io/staged"), annotations.get("kinety.io/audit"))


def _first(said: Iterable[Statement]) -> Opinion | None:
    """A tier in which the first to speak decides; None when nobody does, or passes it on."""
    ordered = sorted(said, key=lambda each: each.place)
    if not ordered or ordered[0].action == "pass":
        return None
    return _by(ordered[0].action, ordered[:1])


def _together(said: list[Statement]) -> Opinion | None:
    """The tier in which order means nothing; None when nobody speaks."""
    denied = [each for each in said if each.action == "deny"]
    if denied:
        return _by("deny", denied)
    plain = [each for each in said if not each.content]
    asking = [each for each in said if each.content]
    if not asking or any(_is_no_wider(each, asking) for each in plain):
        return _by("allow", plain) if plain else None
    content = frozenset[tuple[object, ...]]().union(*(each.content for each in asking))
    return _by("conflict" if len(kinds(content)) > 1 else "redirect", asking, content)


def _is_no_wider(plain: Statement, asking: list[Statement]) -> bool:
    """Whether a plain rule is about no more ports than each that asks for content."""
    assert plain.span is not None
    first, last = plain.span
    return all(each.span and each.span[0] <= first and last <= each.span[1] for each in asking)


def _by(verdict: str, decided: list[Statement], content: Content = frozenset()) -> Opinion:
    option = [each for each in decided if not each.policy]
    written = [each for each in decided if each.policy]
    return Opinion(verdict, frozenset(each.rule for each in written or option), content)
