"""Every target for a while, on inputs that follow the readers' branches: `make fuzz`, part of `make soak`.

Each target runs in a process of its own (`tests.fuzz.worker`), where atheris (libFuzzer) sees which branches
of `kinety` an input reaches, and goes on from those that reach new ones. Inputs are damaged by
`tests.fuzz.damage` and by libFuzzer in turn. KINETY_FUZZ_SECONDS is the time of all together, KINETY_SEED
repeats a run that starts from the same inputs. What was found interesting stays in ``build/fuzz`` for the
next run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.feature import ROOT
from tests.fuzz.corpus import CORPUS, of_our_objects

BUILD = ROOT / "build/fuzz"
SECONDS = 300
#: Parts of the time; a whole object takes longest to read and has most to get wrong.
SHARES = {
    "collection": 8,
    "elf": 4,
    "btf": 4,
    "definitions": 4,
    "btf_ext": 2,
    "netlink": 2,
    "dns_question": 2,
    "dns_answer": 2,
    "rows": 1,
}
#: Longest input in bytes, longest answer in seconds, and most memory in MiB.
INPUT_BYTES, PATIENCE, MEMORY = 1 << 16, 10, 1024
SHOWN_LINES = 25


@dataclass(frozen=True)
class Outcome:
    """What a target's run came to. ``broke`` is what the worker said last when it found something."""

    asked: int
    broke: str = ""
    inputs: tuple[Path, ...] = ()


Run = Callable[[str, int, int], Outcome]


def soak(seconds: int, seed: int, run: Run) -> int:
    """Run every target; the status of the whole, 1 when anything was found."""
    print(f"fuzz: {seconds} s (KINETY_FUZZ_SECONDS), seed {seed} (KINETY_SEED)", flush=True)
    status = 0
    for name, share in SHARES.items():
        took = max(1, seconds * share // sum(SHARES.values()))
        outcome = run(name, took, seed)
        print(f"fuzz: {name}: {outcome.asked} inputs in {took} s", flush=True)
        if outcome.broke:
            status = 1
            print(f"{outcome.broke}\nfuzz: {name} BROKE on")
            print("".join(f"  {path}\n" for path in outcome.inputs), end="")
            print(f"  once more: {sys.executable} -m tests.fuzz.worker {name} FILE")
            print(f"  when it is fixed, keep it: {CORPUS / name}/refused-WHAT-IT-IS.bin", flush=True)
    return status


def run_target(name: str, seconds: int, seed: int) -> Outcome:
    """One target in a process of its own."""
    grown, found = BUILD / "corpus" / name, BUILD / "found" / name
    for directory in (grown, found):
        directory.mkdir(parents=True, exist_ok=True)
    for index, blob in enumerate(of_our_objects(name)):
        if len(blob) <= INPUT_BYTES:
            (grown / f"ours-{index}").write_bytes(blob)
    before = set(found.iterdir())
    options = {
        "max_total_time": seconds,
        "seed": seed & 0xFFFFFFFF or 1,
        "max_len": INPUT_BYTES,
        "timeout": PATIENCE,
        "rss_limit_mb": MEMORY,
        "artifact_prefix": f"{found}/",
        "print_final_stats": 1,
    }
    words = [name, *(f"-{option}={value}" for option, value in options.items()), grown, CORPUS / name]
    command = [sys.executable, "-m", "tests.fuzz.worker", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, errors="replace")
    asked = re.search(r"number_of_executed_units: *(\d+)", done.stderr)
    # The exception is told on one, libFuzzer's own complaints (too slow, too much memory) on the other.
    last = [line for stream in (done.stdout, done.stderr) for line in stream.splitlines()[-SHOWN_LINES:]]
    broke = "\n".join(last) if done.returncode else ""
    return Outcome(int(asked[1]) if asked else 0, broke, tuple(sorted(set(found.iterdir()) - before)))


if __name__ == "__main__":
    sys.exit(
        soak(
            int(os.environ.get("KINETY_FUZZ_SECONDS") or SECONDS),
            int(os.environ.get("KINETY_SEED") or time.time()),
            run_target,
        )
    )
