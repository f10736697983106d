"""A small document as ``bench.run`` writes it."""

from bench.figure import Figure
from tools.generation_figures import Document


def figure(name: str, value: float, unit: str = "ms", **more: object) -> dict[str, object]:
    return {**Figure(name, value, unit).to_json(), **more}


FIGURES = [
    figure("compile, 1 endpoint: generate + load, each", 500.0, baseline=25.0),
    figure("compile, 10 endpoints: generate + load, each", 490.0, baseline=26.0),
    figure("symbols, 1 endpoint: generate + load, each", 30.0, baseline=25.0),
    figure("symbols, 10 endpoints: generate + load, each", 20.0, baseline=26.0),
    figure("symbols, 1000 endpoints: generate + load, each", 19.0, baseline=27.0),
    figure("symbols, 10 endpoints: attach, each", 27.0),
    figure("rodata, 1 endpoint: generate + load, each", 31.0, baseline=25.0),
    figure("resident, 1 endpoint: generate + load, each", 24.0, baseline=25.0),
    figure("resident, 1000 endpoints: generate + load, each", 0.024, baseline=27.0),
    figure(
        "resident, IPv4: packet of an established flow", 97.0, "ns", baseline=96.0, ratio=1.0104, spread=0.02
    ),
    figure(
        "bulk stream: resident",
        33.5,
        "Gbit/s",
        baseline=34.0,
        ratio=0.975,
        resolution=0.004,
        goal="ratio >= 0.98",
        met=False,
    ),
    figure("no filter loaded, IPv4: above loaded without a hook point", 0.4, "ns", baseline=120.0),
    figure("no filter loaded, IPv6: above loaded without a hook point", -0.4, "ns", baseline=120.0),
    figure("a filter at both points, IPv4: above loaded without a hook point", 28.0, "ns", baseline=120.0),
    figure("a filter at both points, IPv6: above loaded without a hook point", 29.0, "ns", baseline=120.0),
    figure("bulk stream: compile, loaded again", 34.0, "Gbit/s", baseline=34.0, ratio=1.0),
    figure("endpoint.bpf.c, 4981 instructions: load once, resident", 24.0, baseline=23.0),
    figure("template, 8003 instructions: load once, resident", 20.0, baseline=21.0),
    figure("template, 487 instructions: load once, resident", 1.5, baseline=1.75),
]


def document() -> Document:
    return Document({str(each["name"]): each for each in FIGURES})
