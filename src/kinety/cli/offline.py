"""Answers about policies from files alone, as the JSON values that the agent would give."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kinety.cli.inventory import read_inventory
from kinety.explain.answer import difference_value, explanation_value, lint_value, matrix_value
from kinety.explain.difference import difference, replacing
from kinety.explain.flow import explain, question, request_of
from kinety.explain.lint import lint
from kinety.explain.matrix import matrix
from kinety.plan.fact import CidrGroupUpserted, PolicyUpserted, ServiceUpserted


def explanation(
    files: Sequence[str],
    source: str,
    destination: str,
    protocol: str,
    port: int | None,
    request: tuple[str | None, str | None] = (None, None),
) -> dict[str, Any]:
    """Why a flow is let through or not."""
    engine = read_inventory(files).engine()
    asked = question(engine, source, destination, protocol, port, request_of(*request))
    return explanation_value(explain(engine, asked))


def differences(old: str, new: str, files: Sequence[str]) -> list[dict[str, Any]]:
    """Verdicts that differ between two sets of policies; ``files`` are on both sides."""
    before, after = read_inventory([*files, old]), read_inventory([*files, new])
    engine = replace(before, endpoints=(*before.endpoints, *after.endpoints)).engine()
    if not engine.endpoints:
        raise ValueError("there is no endpoint in these files; add a scenario that has some with --file")
    facts = replacing(engine, map(PolicyUpserted, after.policies))
    facts += (*map(CidrGroupUpserted, after.cidr_groups), *map(ServiceUpserted, after.services))
    return difference_value(engine, difference(engine, facts))


def suspicions(files: Sequence[str]) -> list[dict[str, Any]]:
    """What is odd about the policies in files."""
    return lint_value(lint(read_inventory(files).engine()))


def verdicts(files: Sequence[str]) -> list[dict[str, Any]]:
    """Every verdict of the endpoints in files."""
    engine = read_inventory(files).engine()
    return matrix_value(engine, matrix(engine))
