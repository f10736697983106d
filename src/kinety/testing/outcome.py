"""Outcomes of probes: what each side said, and whether that was expected."""

from dataclasses import dataclass
from typing import Any

from kinety.model.rule import Origin
from kinety.testing.content import REFUSALS
from kinety.testing.scenario import Probe, Scenario

ALLOW, DENY, REDIRECT = "allow", "deny", "redirect"


@dataclass(frozen=True, slots=True)
class Side:
    """What one end says. ``rule`` is None for a default, and where no policy applies.

    ``reason`` is a sentence when a packet was dropped there and it was not policy that did; ``judged`` is
    False for an end that is no endpoint and so has no say.
    """

    verdict: str
    rule: Origin | None = None
    reason: str = ""
    judged: bool = True

    @property
    def place(self) -> str | None:
        """File and line of the deciding rule."""
        return None if self.rule is None else str(self.rule)

    def __str__(self) -> str:
        """The verdict with what decided: ``deny: policy.yaml:12``, ``default deny``; ``-`` for no say."""
        if not self.judged:
            return "-"
        decided = self.reason or self.place
        return f"{self.verdict}: {decided}" if decided else f"default {self.verdict}"

    def value(self) -> dict[str, Any]:
        """As a JSON value."""
        value: dict[str, Any] = {"verdict": self.verdict, "rule": self.place}
        if self.rule is not None:
            value |= {"policy": str(self.rule.policy), "path": self.rule.path}
        if self.reason:
            value["reason"] = self.reason
        return value


#: An end that is no endpoint has no policy.
UNJUDGED = Side(ALLOW, judged=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a probe in one family. ``remark`` says what is odd about it."""

    family: int
    outcome: str
    egress: Side
    ingress: Side
    remark: str = ""


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
        value: dict[str, Any] = {
            "scenario": self.scenario.name,
            "file": self.probe.file,
            "line": self.probe.line,
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
        if self.probe.content is not None:
            value[REFUSALS[self.probe.content.REFUSAL]] = self.probe.content.value()
        return value | ({"remark": telling.remark} if telling.remark else {})
