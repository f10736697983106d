"""What benchmarks say of rules about content is found by the names of their figures."""

import json
from pathlib import Path

import pytest

from bench.figure import Figure, Goal, compare
from tools.tabulate_layer7 import TABLES, Document

GOAL = Goal("value", "<=", 10.0)
CASE, OTHER = "keep-alive, 1 connection, 1 KB", "short connections, 32 connections, 1 MB"
UNITS = {"": "requests/s", ", p50": "µs", ", p99": "µs", ", processor": "µs/request"}


def requests(case: str, way: str, direct: float) -> list[Figure]:
    return [
        compare(f"{case}: {way}{what}", unit, [direct / 2], "direct", [direct])
        for what, unit in UNITS.items()
    ]


FIGURES = [
    *requests(CASE, "sk_assign", 1000),
    *requests(CASE, "nat", 1000),
    *requests(OTHER, "sk_assign", 20),
    *requests(OTHER, "nat", 30),
    compare(f"{CASE}: sk_assign", "requests/s", [4, 5, 6], "nat", [4, 4, 4]),
    compare(f"{OTHER}: sk_assign", "requests/s", [3], "nat", [4]),
    *(
        figure
        for case in (CASE, OTHER)
        for way in ("sk_assign", "sk_assign without netfilter")
        for figure in requests(f"redirect alone, {case}", way, 100)
    ),
    Figure("1 rule set more at once, 1 in all", 5, "ms"),
    Figure("Envoy, 1 rule set", 70, "MiB", "without any", 60),
    *(
        Figure(f"{what} with 1 rule set, {part}", value, "ms")
        for what, value in (("one more", 2), ("one changed", 1))
        for part in ("P50", "P99")
    ),
    Figure("policy of a kind to its first answer, P50", 6, "ms", "until the agent answers", 7),
    Figure("policy of a kind to its first answer, P99", 11, "ms", "until the agent answers", 12, goal=GOAL),
    compare("DNS: answers", "1/s", [500], "direct", [1000]),
    Figure("DNS: the proxy's processor time", 18, "µs"),
    Figure("DNS: lost at 10/s", 0, "%"),
    Figure("DNS: added at 10/s, p50", 0.5, "ms"),
    Figure("DNS: added at 10/s, p99", 4, "ms"),
]
HALVES = f"""\
| --- | --- | --- | --- |
| {CASE} | 1000 | 500 | 500 |
| {OTHER} | 20 | 10 | 15 |
"""
WANTED = {
    "requests": f"| requests a second | direct | sk_assign | nat |\n{HALVES}",
    "times": f"""\
| µs, P50 / P99 | direct | sk_assign | nat |
| --- | --- | --- | --- |
| {CASE} | 1000 / 1000 | 500 / 500 | 500 / 500 |
| {OTHER} | 20 / 20 | 10 / 10 | 15 / 15 |
""",
    "processor": f"| µs of the processor for a request | direct | sk_assign | nat |\n{HALVES}",
    "rivals": f"""\
| sk_assign against | nat |
| --- | --- |
| {CASE} | 1.250 ± 20.0 % |
| {OTHER} | 0.750 |
""",
    "alone": f"""\
| redirect alone, against direct | sk_assign | sk_assign without netfilter |
| --- | --- | --- |
| {CASE} | 0.500 | 0.500 |
| {OTHER} | 0.500 | 0.500 |
""",
    "alone_processor": f"""\
| redirect alone, µs for a request | direct | sk_assign | sk_assign without netfilter |
| --- | --- | --- | --- |
| {CASE} | 100 | 50 | 50 |
| {OTHER} | 100 | 50 | 50 |
""",
    "listeners": """\
| sets of rules | added at once, ms | one more, P50 / P99 | one changed, P50 / P99 | Envoy |
| --- | --- | --- | --- | --- |
| 1 | 1: 5 | 2 / 2 | 1 / 1 | 70 MiB |
""",
    "policies": """\
| ms | judged, P50 | P99 | goal for P99 | answered, P50 | P99 |
| --- | --- | --- | --- | --- | --- |
| policy of a kind to its first answer | 6 | 11 | 10: **not met** | 7 | 12 |
""",
    "names": """\
|  | answers a second | µs of the processor for one | added, ms, P50 | P99 | at questions |
| --- | --- | --- | --- | --- | --- |
| DNS | 500 | 18 | 0.5 | 4 | 10/s |
""",
}


def document(path: Path, figures: list[Figure]) -> Document:
    path.write_text(json.dumps({"figures": [each.to_json() for each in figures]}))
    return Document.read(path)


@pytest.mark.parametrize("name", TABLES)
def test_a_table(tmp_path: Path, name: str) -> None:
    assert TABLES[name](document(tmp_path / "results.json", FIGURES)) == WANTED[name]


def test_a_document_about_something_else_is_no_use(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no figures of requests"):
        document(tmp_path / "results.json", FIGURES[-5:])
