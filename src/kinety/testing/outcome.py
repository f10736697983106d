"""Outcomes of probes: what each side said, and whether that was expected."""

from dataclasses import dataclass
from typing import Any

from kinety.model.rule import Origin
from kinety.testing.scenario import Probe, Scenario

ALLOW, DENY = "allow", "deny"


@dataclass(frozen=True, slots=True)
class Side:
    """What one end's policy says. ``rule`` is None for a default, and where no policy applies."""

    verdict: str
    rule: Origin | None = None

    @property
    def place(self) -> str | None:
        """File and line of the deciding rule."""
        return None if self.rule is None else str(self.rule)

    def value(self) -> dict[str, Any]:
        """As a JSON value."""
        if self.rule is None:
            return {"verdict": self.verdict, "rule": None}
        return {
            "verdict": self.verdict,
            "rule": self.place,
            "policy": str(self.rule.policy),
            "path": self.rule.path,
        }


#: An end that is no endpoint has no policy.
UNJUDGED = Side(ALLOW)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a probe in one family. ``detail`` says how a live denial was noticed."""

    family: int
    outcome: str
    egress: Side
    ingress: Side
    detail: str = ""

    @property
    def reason(self) -> str:
        """What decided, in one line: the side that denies, or both sides' rules."""
        if self.detail:
            return self.detail
        if self.outcome == DENY:
            side, name = (self.egress, "egress") if self.egress.verdict == DENY else (self.ingress, "ingress")
            return f"{name}: {side.place or 'default deny'}"
        rules = [f"{name}: {side.place}" for name, side in self._sides() if side.place]
        return ", ".join(rules) or "no policy"

    def _sides(self) -> tuple[tuple[str, Side], tuple[str, Side]]:
        return ("egress", self.egress), ("ingress", self.ingress)


@dataclass(frozen=True, slots=True)
class Result:
    """A probe with its answers, one for each family."""

    scenario: Scenario
    probe: Probe
    answers: tuple[Answer, ...]

    @property
    def telling(self) -> Answer:
        """The answer that stands for all: the first that differs from what was expected, if any."""
        wrong = (answer for answer in self.answers if answer.outcome != self.probe.expect)
        return next(wrong, self.answers[0])

    @property
    def ok(self) -> bool:
        """Whether every family's outcome was expected."""
        return self.telling.outcome == self.probe.expect

    def value(self) -> dict[str, Any]:
        """As a JSON value: what `kinety test --output json` prints."""
        telling = self.telling
        return {
            "scenario": self.scenario.name,
            "from": str(self.probe.source),
            "to": str(self.probe.destination),
            "port": self.probe.port,
            "protocol": self.probe.protocol,
            "families": list(self.probe.families),
            "expect": self.probe.expect,
            "outcome": telling.outcome,
            "ok": self.ok,
            "egress": telling.egress.value(),
            "ingress": telling.ingress.value(),
        }
