"""Findings about one policy object, gathered while it is translated."""

from kinety.policy.document import Path, Tree
from kinety.policy.error import Finding


class Report:
    """Collects findings, so that one refusal can name everything that is wrong with an object."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.findings: list[Finding] = []

    def add(self, path: Path, message: str, hint: str = "") -> None:
        """Note what is wrong with the value at a path and what to write instead."""
        self.findings.append(self.tree.finding(path, message, hint))
