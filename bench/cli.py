"""How long does a person wait for the command line before any work is done?

Whole processes are timed, from their start until they have ended: ``kinety --help``, and the offline check
of the demo's policy, which has YAML to read and a schema to hold against it. The baseline is the same
interpreter doing nothing, started in turn with them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from bench.figure import Figure, Goal, compare

ROUNDS, QUICK_ROUNDS, SETTLING_ROUNDS = 40, 4, 2
POLICY = Path(__file__).parent.parent / "examples" / "star-wars" / "policy.yaml"
NOTHING = (sys.executable, "-c", "pass")
KINETY = (sys.executable, "-c", "from kinety.cli.main import main; main()")
QUESTIONS = {
    "kinety --help": ((*KINETY, "--help"), Goal("value", "<=", 150.0)),
    "kinety policy check": ((*KINETY, "policy", "check", str(POLICY)), None),
}


def run(quick: bool = False) -> list[Figure]:
    """One figure a command, in milliseconds: the median over the rounds."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    return [measure(name, command, goal, rounds) for name, (command, goal) in QUESTIONS.items()]


def measure(name: str, command: tuple[str, ...], goal: Goal | None, rounds: int) -> Figure:
    """The command and an empty interpreter, alternating."""
    pairs = [(milliseconds(command), milliseconds(NOTHING)) for _ in range(SETTLING_ROUNDS + rounds)]
    taken, empty = zip(*pairs[SETTLING_ROUNDS:], strict=True)
    return compare(name, "ms", taken, "python -c pass", empty, goal)


def milliseconds(command: tuple[str, ...]) -> float:
    """From the start of a process to its end. Raises CalledProcessError when it fails."""
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - started) * 1e3
