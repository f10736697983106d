"""Answers about policies from files alone, as the JSON values that the agent would give."""

from collections.abc import Sequence
from typing import Any

from kinety.cli.inventory import Inventory, read_inventory
from kinety.explain.answer import difference_value, explanation_value
from kinety.explain.difference import difference, replacing
from kinety.explain.flow import explain, question
from kinety.plan.fact import PolicyUpserted


def explanation(
    files: Sequence[str], source: str, destination: str, protocol: str, port: int | None
) -> dict[str, Any]:
    """Why a flow is let through or not."""
    engine = read_inventory(files).engine()
    return explanation_value(explain(engine, question(engine, source, destination, protocol, port)))


def differences(old: str, new: str, files: Sequence[str]) -> list[dict[str, Any]]:
    """Verdicts that differ between two sets of policies; ``files`` are on both sides."""
    before, after = read_inventory([*files, old]), read_inventory([*files, new])
    engine = Inventory((*before.endpoints, *after.endpoints), before.policies).engine()
    if not engine.endpoints:
        raise ValueError("there is no endpoint in these files; add a scenario that has some with --file")
    facts = replacing(engine, map(PolicyUpserted, after.policies))
    return difference_value(engine, difference(engine, facts))
