"""Write what a benchmark says of generations into a page, as tables.

    python -m tools.tabulate_generations RESULTS PAGE

RESULTS is what ``python -m bench.run --output RESULTS`` wrote about ``generations_in_full``,
``generation_price``, ``generation_traffic`` and ``template_size``. In PAGE are places
for tables (tools/tables.py).
"""

import sys
from collections.abc import Callable
from pathlib import Path

from tools.generation_figures import CONTROL, GENERATIONS, LIBBPF, Document
from tools.tables import NOTHING, amount, fill, markdown, ratio

_OPEN_LOAD = "libbpf, open and load"
_MS_PER_S, _KIB_PER_MIB = 1000, 1024


def seconds(milliseconds: float | None) -> str:
    return NOTHING if milliseconds is None else f"{amount(milliseconds / _MS_PER_S)} s"


def size(kibibytes: float) -> str:
    if kibibytes >= _KIB_PER_MIB:
        return f"{amount(kibibytes / _KIB_PER_MIB)} MiB"
    return f"{amount(kibibytes)} KiB" if kibibytes else "0"


def counted(document: Document) -> tuple[list[str], list[int]]:
    """Headings of the numbers of endpoints, and the numbers."""
    counts = sorted({count for each in document.by_count("generate + load, each").values() for count in each})
    return [f"{count} endpoint" if count == 1 else str(count) for count in counts], counts


def deploy(document: Document) -> str:
    """Milliseconds for each endpoint until its programs could be attached."""
    headings, counts = counted(document)
    made = document.by_count("generate + load, each")
    names = {**{name: name for name in GENERATIONS}, LIBBPF: _OPEN_LOAD}
    rows = [[label, *(amount(made[name].get(count)) for count in counts)] for name, label in names.items()]
    return markdown(["generate and load, ms each", *headings], rows)


def parts(document: Document) -> str:
    """Where an endpoint's time went, at the most endpoints of each generation."""
    columns = {
        "generate": "generate, each",
        "load": "load, each",
        "attach": "attach, each",
        "processor, user": "processor in user space, each",
        "kernel": "processor in the kernel, each",
    }
    found = {heading: document.by_count(what) for heading, what in columns.items()}
    made = document.by_count("generate + load, each")
    found["load"][LIBBPF] = made[LIBBPF]
    rows = []
    for name in (*GENERATIONS, LIBBPF):
        most = max(made[name])
        cells = (by_name.get(name, {}).get(most) for by_name in found.values())
        rows.append([f"{_OPEN_LOAD if name == LIBBPF else name}, {most}", *map(amount, cells)])
    return markdown(["ms each, of so many endpoints", *found], rows)


def memory(document: Document) -> str:
    """Kernel memory: programs + maps of their own."""
    headings, counts = counted(document)
    programs = document.by_count("kernel memory of programs")
    maps = document.by_count("kernel memory of own maps")
    rows = []
    for name in (*GENERATIONS, LIBBPF):
        totals = [(programs[name].get(count), maps[name].get(count)) for count in counts]
        most = max(programs[name])
        rows.append(
            [
                name,
                *(
                    NOTHING if one is None or other is None else f"{size(one)} + {size(other)}"
                    for one, other in totals
                ),
                f"{amount(programs[name][most] / most)} + {amount(maps[name][most] / most)} KiB",
            ]
        )
    return markdown(["programs + own maps", *headings, "each"], rows)


def change(document: Document) -> str:
    """Seconds that a change of a constant took for all endpoints: generate and load, and the whole."""
    headings, counts = counted(document)
    made = document.by_count("change a constant, generate + load")
    whole = document.by_count("change a constant, in all")
    rows = []
    for name in (*GENERATIONS, LIBBPF):
        most = max(made[name])
        rows.append(
            [
                _OPEN_LOAD if name == LIBBPF else name,
                *(seconds(made[name].get(count)) for count in counts),
                seconds(whole.get(name, {}).get(most)),
            ]
        )
    return markdown(["generate and load for all", *headings, "and put in place"], rows)


def packet(document: Document) -> str:
    """Nanoseconds of a packet by family; ratios to ``compile``."""
    found = document.packets()
    families = sorted({family for _, family in found})
    baselines = {family: found["resident", family]["baseline"] for family in families}
    rows = [["compile", *(f"{baselines[family]:.0f}" for family in families), *["1"] * len(families)]]
    for name in GENERATIONS[1:]:
        figures = [found[name, family] for family in families]
        rows.append([name, *(f"{each['value']:.0f}" for each in figures), *map(ratio, figures)])
    return markdown(["ns", *families, *(f"{family} against compile" for family in families)], rows)


def traffic(document: Document) -> str:
    """Rates by load, as ratios to ``compile``."""
    found = document.traffic()
    loads = list(dict.fromkeys(load for load, _ in found))
    names = [*GENERATIONS[1:], CONTROL]
    rows = []
    for load in loads:
        figures = [found[load, name] for name in names]
        unit = figures[0]["unit"].replace("1000 ", "thousand ")
        rows.append([load, f"{amount(figures[0]['baseline'])} {unit}", *map(ratio, figures)])
    return markdown(["load", "compile", *names], rows)


def template(document: Document) -> str:
    """What a template costs by its size."""
    columns: dict[str, tuple[str, Callable[[float], str]]] = {
        "walked through by the verifier": ("verified", lambda value: f"{value:.0f}"),
        "read the object": ("read, ms", amount),
        "load once, resident": ("load, ms", amount),
        "each by symbols": ("each by symbols, ms", amount),
        "attach, each": ("attach, ms", amount),
        "kernel memory of programs": ("programs", size),
    }
    rows = []
    for each in document.templates():
        cells = [write(each.value(what)) for what, (_, write) in columns.items()]
        libbpf = amount(each.baseline("load once, resident"))
        called = f"{each.instructions}{', the real one' if each.real else ''}"
        rows.append([called, *cells[:4], libbpf, *cells[4:]])
    headings = [heading for heading, _ in columns.values()]
    return markdown(["instructions", *headings[:4], "each by libbpf, ms", *headings[4:]], rows)


def endpoints(document: Document) -> str:
    """A template and its endpoints: time without attaching, and memory, resident against symbols."""
    rows = []
    for each in document.templates():
        cells = []
        for what, figure in each.figures.items():
            if "endpoints, resident" in what:
                write = seconds if figure["unit"] == "ms" else size
                cells += [write(figure["value"]), write(figure["baseline"])]
        rows.append([f"{each.instructions}{', the real one' if each.real else ''}", *cells])
    return markdown(["instructions", "resident", "symbols", "memory, resident", "symbols"], rows)


def hooks(document: Document) -> str:
    """What the hook point costs a packet, by what hangs there."""
    found = document.hooks()
    families = sorted({family for _, family in found})
    rows = [
        [name, *(f"{round(found[name, family]['value'])}" for family in families)]
        for name in dict.fromkeys(name for name, _ in found)
    ]
    return markdown(["ns a packet, above programs without the hook point", *families], rows)


def goals(document: Document) -> str:
    """What was hoped for, and what came of it."""
    rows = [
        [
            each["name"],
            ratio(each),
            each["goal"].removeprefix("ratio "),
            "yes" if each["met"] else "**no**",
        ]
        for each in document.goals()
    ]
    return markdown(["ratio", "measured", "goal", "met"], rows)


TABLES: dict[str, Callable[[Document], str]] = {
    "deploy": deploy,
    "parts": parts,
    "memory": memory,
    "change": change,
    "packet": packet,
    "traffic": traffic,
    "template": template,
    "endpoints": endpoints,
    "hooks": hooks,
    "goals": goals,
}


def main() -> None:
    """Fill the page."""
    results, page = map(Path, sys.argv[1:])
    page.write_text(fill(page.read_text(), TABLES, Document.read(results)))


if __name__ == "__main__":
    main()
