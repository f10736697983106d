"""Draw what an endpoint's program costs by generation, from a benchmark's JSON document.

    plot_generations.py RESULTS TARGET

RESULTS is what ``python -m bench.run generations --output RESULTS`` wrote; TARGET.svg and TARGET.png are
drawn, by matplotlib (``pip install --editable '.[figures]'``). Two panels: milliseconds until a program can
be attached, the mean of so many endpoints; and where an endpoint's time went, attaching included.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

GENERATIONS = ("compile", "symbols", "rodata", "resident")
#: Told apart without colours, too; the palette is Okabe and Ito's.
LOOKS = {
    "compile": ("#d55e00", "o"),
    "symbols": ("#e69f00", "s"),
    "rodata": ("#009e73", "^"),
    "resident": ("#0072b2", "D"),
    "libbpf": ("#666666", "x"),
}
PARTS = {"generate": "#d55e00", "load": "#56b4e9", "attach": "#bbbbbb"}
_EACH = re.compile(r"(\w+), (\d+) endpoints: generate \+ load, each")
_PART = re.compile(r"(\w+), \d+: (generate|load|attach), each")

Series = dict[str, dict[int, float]]


def series(figures: list[Mapping[str, Any]]) -> Series:
    """Milliseconds each, by generation and number of endpoints; libbpf's are the baselines."""
    found: Series = defaultdict(dict)
    for figure in figures:
        if match := _EACH.fullmatch(figure["name"]):
            count = int(match[2])
            found[match[1]][count] = figure["value"]
            found["libbpf"][count] = figure["baseline"]
    return found


def parts(figures: list[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Milliseconds each at the largest number of endpoints, by part and generation."""
    found: dict[str, dict[str, float]] = {part: {} for part in PARTS}
    for figure in figures:
        if match := _PART.fullmatch(figure["name"]):
            found[match[2]][match[1]] = figure["value"]
    return found


def draw(figures: list[Mapping[str, Any]], target: Path) -> None:
    """Both panels, as SVG and as PNG. Raises ValueError when the document lacks the figures."""
    lines, spent = series(figures), parts(figures)
    if missing := [name for name in GENERATIONS if name not in lines or name not in spent["load"]]:
        raise ValueError(f"no figures of {', '.join(missing)}: ask bench.run for `generations`")
    from matplotlib import pyplot  # noqa: PLC0415 (nothing else here needs it)

    pyplot.rcParams.update(
        {"svg.hashsalt": "kinety", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    canvas, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name in (*GENERATIONS, "libbpf"):
        colour, marker = LOOKS[name]
        points = sorted(lines[name].items())
        style = "--" if name == "libbpf" else "-"
        label = "libbpf, open + load" if name == "libbpf" else name
        left.plot(*zip(*points, strict=True), style, color=colour, marker=marker, markersize=4, label=label)
    left.set(xscale="log", yscale="log", xlabel="endpoints", ylabel="generate and load, ms for each")
    left.legend(frameon=False, fontsize=8)
    bottom = [0.0] * len(GENERATIONS)
    for part, colour in PARTS.items():
        heights = [spent[part][name] for name in GENERATIONS]
        right.barh(GENERATIONS, heights, left=bottom, color=colour, label=part)
        bottom = [done + height for done, height in zip(bottom, heights, strict=True)]
    for place, total in enumerate(bottom):
        right.text(total + max(bottom) * 0.01, place, f"{total:.0f} ms", va="center", fontsize=8)
    right.set(xlabel="one endpoint, ms", xlim=(0, max(bottom) * 1.18))
    right.invert_yaxis()
    right.legend(frameon=False, fontsize=8, loc="lower right")
    drawn = StringIO()
    canvas.savefig(drawn, format="svg", metadata={"Date": None})
    lines_of_svg = (line.rstrip() for line in drawn.getvalue().splitlines())
    target.with_suffix(".svg").write_text("\n".join(lines_of_svg) + "\n")
    canvas.savefig(target.with_suffix(".png"), dpi=150, metadata={"Software": None})


def main() -> None:
    """Draw."""
    results, target = map(Path, sys.argv[1:])
    draw(json.loads(results.read_text())["figures"], target)


if __name__ == "__main__":
    main()
