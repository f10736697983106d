"""A trial: all judges hear the same questions about a world, and about what becomes of it."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from kinety.plan.engine import Engine
from kinety.policy.error import PolicyError
from tests.judges.kernel import Kernel, Opened
from tests.judges.opinion import Disagreement, Say, check_plan, host_says, oracle_of
from tests.judges.question import Question, host_questions, questions
from tests.judges.shrink import smallest
from tests.judges.worlds import End, World, changed, ends, world

CHANGES = 3
FIRST_QUESTIONS, MORE_QUESTIONS, HOST_QUESTIONS = 120, 30, 30
#: Open flows that are asked about again after a change.
MOST_OPEN = 40


@dataclass(frozen=True, slots=True)
class Tally:
    """Questions asked: of new flows, and of flows that were open before a change."""

    fresh: int = 0
    again: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.fresh + other.fresh, self.again + other.again)

    @property
    def questions(self) -> int:
        """All of them."""
        return self.fresh + self.again


@dataclass(slots=True)
class Trial:
    """One seed's world on a node. Every disagreement is raised with what is needed to see it again."""

    kernel: Kernel
    seed: int
    step: int = 0
    open: list[Opened] = field(default_factory=list)

    def run(self) -> Tally:
        """Ask about the world, then again after each of some changes. Raises Disagreement."""
        rng = random.Random(self.seed)
        scene = world(self.seed)
        self.kernel.move(scene)
        self.kernel.idle()
        self.kernel.forget_flows()
        asked = Tally(fresh=self._ask(rng, scene, FIRST_QUESTIONS))
        for self.step in range(1, CHANGES + 1):
            for _ in range(rng.choice([1, 1, 1, 3])):
                scene = changed(rng, scene)
            self.kernel.move(scene)
            if rng.random() < 0.5:
                self.kernel.idle()
            asked += Tally(again=self._ask_again(rng, scene))
            asked += Tally(fresh=self._ask(rng, scene, MORE_QUESTIONS))
        return asked

    def _ask(self, rng: random.Random, scene: World, count: int) -> int:
        oracle = oracle_of(scene)
        for question in questions(rng, scene, count):
            try:
                opened = self.kernel.ask(question, check_plan(oracle, self.kernel.engine, question))
            except Disagreement as found:
                raise self._explained(found, scene, question) from found
            if opened is not None:
                self.open.append(opened)
        return count + self._ask_host(scene)

    def _ask_host(self, scene: World) -> int:
        """Questions that the node's own policies judge, where one selects it."""
        if not self.kernel.host_judges:
            return 0
        oracle = oracle_of(scene)
        for question in host_questions(random.Random(f"{self.seed} {self.step}"), scene, HOST_QUESTIONS):
            try:
                check_plan(oracle, self.kernel.engine, question)
                for say in host_says(self.kernel.engine, question):
                    self.kernel.ask_host(question, say)
            except Disagreement as found:
                raise self._explained(found, scene, question) from found
        return HOST_QUESTIONS

    def _ask_again(self, rng: random.Random, scene: World) -> int:
        """The next packet of flows that are open, from either end."""
        oracle = oracle_of(scene)
        present = {end.address: end for end in ends(scene)}
        here = [each for each in self.open if _ends_of(each.question) <= present.keys()]
        self.open = rng.sample(here, min(MOST_OPEN, len(here)))
        for opened in self.open:
            question = _as_of_now(opened.question, present)
            reply = not question.around and rng.random() < 0.4
            try:
                says = check_plan(oracle, self.kernel.engine, question)
                self.kernel.ask_again(replace(opened, question=question), says, reply=reply)
            except Disagreement as found:
                way = "the answer to" if reply else "the next packet of"
                raise self._explained(found, scene, question, f"{way} an open flow: ") from found
        return len(self.open)

    def _explained(
        self, found: Disagreement, scene: World, question: Question, about: str = ""
    ) -> Disagreement:
        def fails(candidate: World) -> bool:
            return disagree(self.kernel.move, self.kernel.ask, self.kernel.engine, candidate, question)

        lines = [f"seed {self.seed}, after {self.step} changes: {about}{found}"]
        lines.append(f"again: KINETY_SEED={self.seed} KINETY_QUESTIONS=1 python -m pytest tests/judges")
        if fails(scene):
            lines.append("The smallest world in which the judges differ:")
            lines.append(told(smallest(scene, fails)))
        else:
            lines.append("A new flow in the same world is judged alike: it takes what came before.")
            lines.append(told(scene))
        return Disagreement("\n".join(lines))


def disagree(
    move: Callable[[World], None],
    ask: Callable[[Question, list[Say]], object],
    engine: Engine,
    scene: World,
    question: Question,
) -> bool:
    """Whether judges differ about the first packet of a flow in a world, which may be an invalid one."""
    try:
        move(scene)
        present = {end.address: end for end in ends(scene)}
        if not _ends_of(question) <= present.keys():
            return False
        question = _as_of_now(question, present)
        ask(question, check_plan(oracle_of(scene), engine, question))
    except Disagreement:
        return True
    except PolicyError:
        return False
    return False


def told(scene: World) -> str:
    """A world for a person to read."""
    lines = []
    for each in (*scene.endpoints, *scene.elsewhere):
        carried = ", ".join(sorted(map(str, [*each.labels, *(listen.label for listen in each.listens)])))
        lines.append(f"  {each.name}: {carried}")
    lines += [f"  {address}: {', '.join(sorted(names))}" for address, names in scene.names]
    lines += [f"  host: {', '.join(map(str, sorted(scene.node)))}"] * bool(scene.node)
    return "\n".join([*lines, json.dumps(scene.everything_written, indent=1)])


def _ends_of(question: Question) -> set[bytes]:
    return {question.source.address, question.target.address}


def _as_of_now(question: Question, present: dict[bytes, End]) -> Question:
    """A question with the labels that its ends have by now."""
    return replace(question, source=present[question.source.address], target=present[question.target.address])
