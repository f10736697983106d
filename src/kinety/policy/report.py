"""Findings about one policy object, gathered while it is translated."""

from kinety.policy.document import Path, Tree
from kinety.policy.error import Finding, PolicyError

#: After this many findings about one document nobody reads on, and looking for more only costs time.
MAX_REPORTED = 100


class Report:
    """Collects findings, so that one refusal can name everything that is wrong with an object."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.findings: list[Finding] = []

    def add(self, path: Path, message: str, hint: str = "") -> None:
        """Note what is wrong with the value at a path and what to write instead.

        Raises PolicyError when enough was found.
        """
        self.note(self.tree.finding(path, message, hint))

    def note(self, finding: Finding) -> None:
        """Keep a finding. Raises PolicyError when enough was found."""
        self.findings.append(finding)
        if len(self.findings) >= MAX_REPORTED:
            raise PolicyError(self.findings)
