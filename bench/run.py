"""Run the benchmarks: ``python -m bench.run [--smoke] [QUESTION…]``.

Without arguments every question is asked, but for `LONG_QUESTIONS`, and ``bench/results/latest.json``
written; with some, only those are asked and nothing is written. ``--smoke`` asks everything quickly, to see
that the benchmarks work. Exit status 1 when a question could not be answered; a missed goal is printed, and
no error: a busy machine must not break a build.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import tabulate

from bench.figure import Figure

QUESTIONS = (
    "cli",
    "attach",
    "cni",
    "identity",
    "names",
    "policy_apply",
    "engine",
    "reference",
    "difference",
    "ipcache",
    "memory",
    "generations",
    "generation_price",
    "hook_price",
    "generation_traffic",
    "template_size",
    "crowd",
    "bandwidth",
    "program_cost",
    "packet_path",
    "host_policy",
    "dns",
    "layer7",
    "layer7_listener",
    "layer7_apply",
)
#: Asked by name only: they take long.
LONG_QUESTIONS = ("generations_in_full",)
RESULTS = Path(__file__).parent / "results" / "latest.json"
ROOT = Path(__file__).resolve().parent.parent


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
    ).stdout.strip()


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    info = Path("/proc/cpuinfo").read_text()
    models = {line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")}
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpus": os.cpu_count(),
        "cpu": ", ".join(sorted(models)) or "unknown",
        "memory_gib": round(pages / 2**30, 1),
        "virtual": " hypervisor" in info,
        "python": platform.python_version(),
    }


def ask(question: str, *, quick: bool) -> list[Figure]:
    """One question's figures, on a line each as soon as they are there."""
    started = time.monotonic()
    figures = list(importlib.import_module(f"bench.{question}").run(quick=quick))
    print(f"{question}: {len(figures)} figures in {time.monotonic() - started:.0f} s", flush=True)
    return figures


def amount(value: float | None) -> str:
    """Four significant digits, no exponents: what a person compares."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def table(figures: Sequence[Figure]) -> str:
    rows = [
        (
            figure.name,
            amount(figure.value),
            figure.unit,
            f"{amount(figure.baseline)} {figure.baseline_name}" if figure.baseline_name else "",
            f"{figure.ratio:.3f}" if figure.ratio is not None else "",
            f"{figure.spread:.1%}" if figure.spread else "",
            str(figure.goal or ""),
            {None: "", True: "yes", False: "NO"}[figure.met],
        )
        for figure in figures
    ]
    headers = ("question", "value", "unit", "baseline", "ratio", "spread", "goal", "met")
    return tabulate.tabulate(rows, headers, disable_numparse=True)


def report(figures: Sequence[Figure]) -> dict[str, object]:
    """The JSON document: what, on which machine, of which commit."""
    return {
        "commit": git("rev-parse", "HEAD"),
        "clean": not git("status", "--porcelain", "--", "src", "bpf", "bench"),
        "taken": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(),
        "figures": [figure.to_json() for figure in figures],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench", description="Measure Kinety against its baselines.")
    parser.add_argument("--smoke", action="store_true", help="a few rounds of everything")
    parser.add_argument("--output", type=Path, help="write the JSON document here")
    parser.add_argument("questions", nargs="*", choices=[[], *QUESTIONS, *LONG_QUESTIONS], metavar="QUESTION")
    chosen = parser.parse_args(arguments)
    figures, failed = [], []
    for question in chosen.questions or QUESTIONS:
        try:
            figures += ask(question, quick=chosen.smoke)
        except Exception:  # one broken question must not hide the answers to the others
            traceback.print_exc()
            failed.append(question)
    print(table(figures))
    complete = not chosen.questions and not chosen.smoke and not failed
    target = chosen.output or (RESULTS if complete else None)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(report(figures), indent=1, ensure_ascii=False) + "\n")
        print(f"written: {target}")
    if missed := [figure.name for figure in figures if figure.met is False]:
        print(f"{len(missed)} of {len(figures)} miss their goal: {'; '.join(missed)}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
