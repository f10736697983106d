"""Oracle, plan and loaded programs give one answer to every question, by the same rule."""

import logging
import os
import random
import time
from collections.abc import Iterator

import pytest

from kinety.kernel.map import Map
from tests.judges.kernel import Kernel, kernel
from tests.judges.opinion import Disagreement, check_plan, host_says, oracle_of
from tests.judges.question import host_questions, questions
from tests.judges.trial import Tally, Trial
from tests.judges.worlds import world

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects", "netfilter")

#: Questions of one run; `make soak` asks for more, and gives a seed of its own.
WANTED = int(os.environ.get("KINETY_QUESTIONS", "20000"))
SEED = int(os.environ.get("KINETY_SEED", "1"))
_PROGRESS_SECONDS = 10.0

log = logging.getLogger(__name__)


@pytest.fixture
def node() -> Iterator[Kernel]:
    with kernel() as built:
        yield built


def judge_worlds(node: Kernel) -> Tally:
    """Trial after trial on one node, until enough was asked."""
    asked, seed, told = Tally(), SEED, time.monotonic()
    log.info("from seed %d on, %d questions", SEED, WANTED)
    while asked.questions < WANTED:
        asked += Trial(node, seed).run()
        seed += 1
        if time.monotonic() - told > _PROGRESS_SECONDS:
            told = time.monotonic()
            log.info("seed %d: %d questions of %d, no disagreement", seed, asked.questions, WANTED)
    return asked


def test_three_judges_agree_on_random_worlds(node: Kernel) -> None:
    asked = node.run(judge_worlds, node)
    assert asked.questions >= WANTED
    assert asked.again >= asked.questions // 10, "too few flows live through a change"
    assert node.host_asked >= asked.questions // 100, "too few questions are about the node itself"
    assert node.datapath.statistics().events_lost == 0


def test_a_row_that_is_missing_in_the_kernel_is_noticed(node: Kernel) -> None:
    """The third judge hears the kernel, not the plan: what is taken from the kernel alone shows."""

    def judge() -> None:
        for seed in range(SEED, SEED + 20):
            node.move(world(seed))
            take_rows(node)
            rng = random.Random(seed)
            oracle = oracle_of(world(seed))
            for question in questions(rng, world(seed), 50):
                node.ask(question, check_plan(oracle, node.engine, question))

    with pytest.raises(Disagreement, match="the programs"):
        node.run(judge)


def test_a_row_that_is_missing_is_noticed_where_the_node_judges(node: Kernel) -> None:
    def judge() -> None:
        for seed in range(SEED, SEED + 100):
            node.move(world(seed))
            take_rows(node)
            for question in host_questions(random.Random(seed), world(seed), 50):
                for say in host_says(node.engine, question):
                    node.ask_host(question, say)

    with pytest.raises(Disagreement, match="the node's plan says"):
        node.run(judge)


def take_rows(node: Kernel) -> None:
    """Empty every verdict table behind the plan's back."""
    for number in node.tables():
        with Map.from_id(number) as table:
            keys = [key for key, _ in table.items()]
            table.delete_batch(b"".join(keys), len(keys))
