"""Draw what an endpoint's program costs by generation, from a benchmark's JSON document.

    python -m tools.plot_generations RESULTS TARGET

RESULTS is what ``python -m bench.run --output RESULTS`` wrote about ``generations`` or
``generations_in_full``, ``generation_price``, ``generation_traffic`` and ``template_size``; TARGET.svg and
TARGET.png are drawn, by matplotlib (``pip install --editable '.[figures]'``). Six panels: milliseconds until
a program can be attached; where an endpoint's time went; a change of a constant; kernel memory; what a
template costs by its size; and what a packet pays, beside programs that were compiled for one endpoint.
"""

import sys
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from tools.generation_figures import CONTROL, GENERATIONS, LIBBPF, Document, Template

#: Told apart without colours, too; the palette is Okabe and Ito's.
LOOKS = {
    "compile": ("#d55e00", "o"),
    "symbols": ("#e69f00", "s"),
    "rodata": ("#009e73", "^"),
    "resident": ("#0072b2", "D"),
    LIBBPF: ("#666666", "x"),
    CONTROL: ("#d55e00", "|"),
}
LABELS = {LIBBPF: "libbpf, open + load"}
PARTS = {"generate": "#d55e00", "load": "#56b4e9", "attach": "#bbbbbb"}
#: What a resident program may cost a packet.
PRICE = 0.02
_MS_PER_S, _KIB_PER_MIB = 1000, 1024

Axes = Any


def curves(axes: Axes, by_name: Mapping[str, Mapping[int, float]], scale: float = 1) -> None:
    """A line for each generation and for libbpf over numbers of endpoints, both axes logarithmic."""
    for name in (*GENERATIONS, LIBBPF):
        colour, marker = LOOKS[name]
        points = [(count, value / scale) for count, value in sorted(by_name[name].items())]
        style = "--" if name == LIBBPF else "-"
        label = LABELS.get(name, name)
        axes.plot(*zip(*points, strict=True), style, color=colour, marker=marker, markersize=4, label=label)
    axes.set(xscale="log", yscale="log", xlabel="endpoints")


def deployed(axes: Axes, document: Document) -> None:
    curves(axes, document.by_count("generate + load, each"))
    axes.set(ylabel="ms for each", title="generate and load")
    axes.legend(frameon=False, fontsize=8)


def spent(axes: Axes, document: Document) -> None:
    """At the most endpoints of each generation, libbpf left out: it attaches nothing."""
    bottom = [0.0] * len(GENERATIONS)
    for part, colour in PARTS.items():
        found = document.by_count(f"{part}, each")
        heights = [found[name][max(found[name])] for name in GENERATIONS]
        axes.barh(GENERATIONS, heights, left=bottom, color=colour, label=part)
        bottom = [done + height for done, height in zip(bottom, heights, strict=True)]
    for place, total in enumerate(bottom):
        axes.text(total + max(bottom) * 0.01, place, f"{total:.0f} ms", va="center", fontsize=8)
    axes.set(xlabel="ms", xlim=(0, max(bottom) * 1.18), title="one endpoint")
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def changed(axes: Axes, document: Document) -> None:
    curves(axes, document.by_count("change a constant, generate + load"), _MS_PER_S)
    axes.set(ylabel="s for all", title="a constant changed: generate and load")


def kept(axes: Axes, document: Document) -> None:
    """Programs and maps of their own together."""
    programs = document.by_count("kernel memory of programs")
    maps = document.by_count("kernel memory of own maps")
    total = {
        name: {count: size + maps[name][count] for count, size in sizes.items()}
        for name, sizes in programs.items()
    }
    curves(axes, total, _KIB_PER_MIB)
    axes.set(ylabel="MiB for all", title="kernel memory: programs and their own maps")


def grown(axes: Axes, document: Document) -> None:
    """Milliseconds by size: the grown ones are joined, the real one stands for itself."""
    *line, real = document.templates()
    ways: dict[str, tuple[str, Callable[[Template], float]]] = {
        "resident": ("resident, once", lambda each: each.value("load once, resident")),
        "symbols": ("symbols, each endpoint", lambda each: each.value("each by symbols")),
        LIBBPF: ("libbpf, each endpoint", lambda each: each.baseline("load once, resident")),
    }
    for name, (label, read) in ways.items():
        colour, marker = LOOKS[name]
        sizes, values = [each.instructions for each in line], [read(each) for each in line]
        style = "--" if name == LIBBPF else "-"
        axes.plot(sizes, values, style, color=colour, marker=marker, markersize=4, label=label)
        alone = {"markersize": 7, "markerfacecolor": "none"}
        axes.plot(real.instructions, read(real), color=colour, marker=marker, **alone)
    place = (real.instructions, ways["resident"][1](real))
    axes.annotate("the real one", place, (8, -3), textcoords="offset points", fontsize=8)
    axes.set(
        xlabel="instructions of both programs", ylabel="ms", title="a template grows: load", ylim=(0, None)
    )
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def paid(axes: Axes, document: Document) -> None:
    """Cost of a packet against ``compile``: time as it is, rates turned over. Bars: 95 % confidence."""
    packets, traffic = document.packets(), document.traffic()
    families = sorted({family for _, family in packets})
    loads = list(dict.fromkeys(load for load, _ in traffic))
    rows = [f"one packet, {family}" for family in families] + loads
    axes.axvspan(1 - PRICE, 1 + PRICE, color="#eeeeee", label=f"± {PRICE:.0%}")
    names = [*GENERATIONS[1:], CONTROL]
    for shift, name in enumerate(names):
        colour, marker = LOOKS[name]
        costs = {
            **{row: (traffic[load, name], -1) for row, load in enumerate(loads, len(families))},
            **{row: (packets[name, family], 1) for row, family in enumerate(families) if name != CONTROL},
        }
        for row, (figure, power) in costs.items():
            ratio, place = figure["ratio"] ** power, row + (shift - (len(names) - 1) / 2) * 0.18
            half = {"xerr": ratio * figure["resolution"], "elinewidth": 1, "markersize": 4}
            axes.errorbar(ratio, place, color=colour, marker=marker, **half, label=name)
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.set(yticks=range(len(rows)), yticklabels=rows, xlabel="cost, compile = 1", title="what traffic pays")
    axes.invert_yaxis()
    axes.legend(once.values(), once.keys(), frameon=False, fontsize=7)


def draw(document: Document, target: Path) -> None:
    """All panels, as SVG and as PNG."""
    from matplotlib import pyplot  # noqa: PLC0415 (nothing else here needs it)

    pyplot.rcParams.update(
        {
            "svg.hashsalt": "kinety",
            "font.size": 9,
            "axes.titlesize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    canvas, axes = pyplot.subplots(3, 2, figsize=(9.5, 10), layout="constrained")
    for panel, place in zip((deployed, spent, changed, kept, grown, paid), axes.flat, strict=True):
        panel(place, document)
    drawn = StringIO()
    canvas.savefig(drawn, format="svg", metadata={"Date": None})
    lines_of_svg = (line.rstrip() for line in drawn.getvalue().splitlines())
    target.with_suffix(".svg").write_text("\n".join(lines_of_svg) + "\n")
    canvas.savefig(target.with_suffix(".png"), dpi=150, metadata={"Software": None})


def main() -> None:
    """Draw."""
    results, target = map(Path, sys.argv[1:])
    draw(Document.read(results), target)


if __name__ == "__main__":
    main()
