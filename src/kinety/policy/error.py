"""What is wrong with a policy document, where, and what to write instead."""

from collections.abc import Iterable
from dataclasses import dataclass

#: Lines that `PolicyError.lines` gives people at most.
MAX_LINES = 20


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that is wrong: file, 1-based line and column, and path such as ``spec.ingress[0]``.

    Line and column are 0 and ``path`` is empty where they make no sense (a file that is too large).
    ``hint`` says what to write instead; it may be empty.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        where = f"{place}: {self.path}: " if self.path else f"{place}: "
        said = f"{where}{self.message}; {self.hint}" if self.hint else f"{where}{self.message}"
        # Names in a message come from the document, line breaks included.
        return " ".join(said.split())


class PolicyError(ValueError):
    """Documents that were refused, all of them. ``str()`` is one line about the first finding."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        if not self.findings:
            raise ValueError("a PolicyError needs at least one finding")
        super().__init__(str(self.findings[0]))

    @property
    def file(self) -> str:
        """File of the first finding."""
        return self.findings[0].file

    @property
    def line(self) -> int:
        """Line of the first finding, from 1; 0 when it concerns the whole file."""
        return self.findings[0].line

    @property
    def column(self) -> int:
        """Column of the first finding, from 1; 0 when it concerns the whole file."""
        return self.findings[0].column

    @property
    def path(self) -> str:
        """Path of the first finding inside its document."""
        return self.findings[0].path

    @property
    def message(self) -> str:
        """What is wrong, of the first finding."""
        return self.findings[0].message

    @property
    def hint(self) -> str:
        """What to write instead, of the first finding."""
        return self.findings[0].hint

    def lines(self) -> tuple[str, ...]:
        """One line a finding, for people; a last line counts what is too much to read."""
        shown = tuple(str(finding) for finding in self.findings[:MAX_LINES])
        more = len(self.findings) - len(shown)
        return (*shown, f"... and {more} more") if more else shown
