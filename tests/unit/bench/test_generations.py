"""What was spent becomes figures, and the tables find every one of them."""

from bench.figure import Figure
from bench.generations import Processor, Stand, figures
from bench.ways import GENERATIONS, LIBBPF
from kinety.datapath.generations.deployment import Cost, Memory
from tools.generation_figures import Document
from tools.tabulate_generations import change, deploy, goals, memory, parts

KIB = 1024


def stand(count: int, seconds: float, programs: int) -> Stand:
    """As if each endpoint took so many seconds to load, and every program 10 KiB."""
    return Stand(
        count,
        Cost(generate=0.001 * count, load=seconds, attach=0.02 * count),
        Processor(user=0.002 * count, system=seconds),
        Memory(programs, programs * 10 * KIB, 0, 0),
        Cost(load=2 * seconds),
        3 * seconds,
    )


def spent() -> dict[str, list[Stand]]:
    return {
        LIBBPF: [stand(1, 0.02, 2), stand(10, 0.2, 20)],
        "compile": [stand(1, 0.5, 2)],
        "symbols": [stand(1, 0.03, 2), stand(10, 0.3, 20)],
        "rodata": [stand(1, 0.03, 2), stand(10, 0.3, 20)],
        "resident": [stand(1, 0.03, 2), stand(10, 0.03, 2)],
    }


def by_name(found: list[Figure]) -> dict[str, Figure]:
    return {each.name: each for each in found}


def test_each_is_the_mean_and_the_rest_is_for_all() -> None:
    found = by_name(figures(spent()))
    loaded = found["symbols, 10 endpoints: load, each"]
    assert (round(loaded.value, 6), loaded.unit) == (30, "ms")
    made = found["symbols, 10 endpoints: generate + load, each"]
    assert made.baseline is not None
    assert (round(made.value, 6), round(made.baseline, 6)) == (31, 21)
    kept = found["symbols, 10 endpoints: kernel memory of programs"]
    assert (kept.value, kept.baseline, kept.unit) == (200, 200, "KiB")
    assert round(found["symbols, 10 endpoints: change a constant, in all"].value, 6) == 900


def test_generations_are_compared_at_the_most_endpoints_that_both_have() -> None:
    found = by_name(figures(spent()))
    assert found["symbols against compile, 1 endpoint"].met is False
    assert found["rodata against symbols, 10 endpoints"].ratio == 1
    assert found["resident against symbols, 10 endpoints"].met is False, "0.004 of 0.031"


def test_resident_programs_that_grow_are_noticed() -> None:
    name = "resident, kernel memory of programs, 10 endpoints against 1"
    assert by_name(figures(spent()))[name].met is True
    grown = {**spent(), "resident": [stand(1, 0.03, 2), stand(10, 0.03, 4)]}
    assert by_name(figures(grown))[name].met is False


def test_the_tables_find_them() -> None:
    document = Document({each.name: each.to_json() for each in figures(spent())})
    assert deploy(document).splitlines()[2:] == [
        "| compile | 501 | – |",
        "| symbols | 31 | 31 |",
        "| rodata | 31 | 31 |",
        "| resident | 31 | 4 |",
        "| libbpf, open and load | 21 | 21 |",
    ]
    assert parts(document).splitlines()[3] == "| symbols, 10 | 1 | 30 | 20 | 2 | 30 |"
    assert memory(document).splitlines()[5] == "| resident | 20 KiB + 0 | 20 KiB + 0 | 2 + 0 KiB |"
    assert change(document).splitlines()[3] == "| symbols | 0.06 s | 0.6 s | 0.9 s |"
    assert len(goals(document).splitlines()) == 2 + 4
    assert document.by_count("load, each").keys() == GENERATIONS.keys()
