"""``kinety test``: scenarios, answered from the plan or with real packets."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from kinety.cli.complaint import complain
from kinety.cli.documents import read_documents
from kinety.cli.exit_code import OK, REFUSED
from kinety.cli.output import output_option, print_value, table
from kinety.policy.document import Document
from kinety.policy.error import PolicyError
from kinety.testing.outcome import Result
from kinety.testing.parse import parse_scenarios, speaks_of_scenarios
from kinety.testing.scenario import ECHO_TYPES, Probe, Scenario


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="SCENARIO|DIRECTORY|-...")
@click.option("--live", is_flag=True, help="Build namespaces and a node, and send real packets (root).")
@output_option
def test(files: tuple[str, ...], live: bool, output: str) -> int:
    """Check scenarios: from the plan, or with --live on a throw-away node.

    In a directory, files of other kinds are left aside: policies may lie beside scenarios.

    Ends with status 1 when any probe's outcome is not the expected one.
    """
    if live and os.geteuid() != 0:
        raise PermissionError("--live makes namespaces and loads programs: run it as root")
    documents = list(_documents(files))
    try:
        scenarios = parse_scenarios(documents, _read_policy)
    except PolicyError as error:
        for line in error.lines():
            complain(line)
        return REFUSED
    results = list(_results(scenarios, live))
    if output == "table":
        click.echo(result_table(results))
    else:
        print_value(output, [result.value() for result in results])
    return OK if all(result.ok for result in results) else REFUSED


def _documents(names: Iterable[str]) -> Iterator[Document]:
    """Files as they are; of directories, what speaks of scenarios. Raises ValueError when one has none."""
    for name in names:
        found = [Document(document.file, document.text) for document in read_documents([name])]
        if Path(name).is_dir():
            found = [document for document in found if speaks_of_scenarios(document)]
            if not found:
                raise ValueError(f"{name}: there is no scenario in this directory")
        yield from found


def result_table(results: list[Result]) -> str:
    """One line a probe: what was asked, what came of it, and what each end said; more where it helps."""
    columns: dict[str, Callable[[Result], object]] = {
        "": lambda result: "ok" if result.ok else "FAIL",
        "SCENARIO": lambda result: result.scenario.name,
        "FROM": lambda result: result.probe.source,
        "TO": lambda result: result.probe.destination,
        "PROBE": lambda result: _question(result.probe),
        "EXPECT": lambda result: result.probe.expect,
        "OUTCOME": lambda result: result.telling.outcome,
        "EGRESS": lambda result: result.telling.egress,
        "INGRESS": lambda result: result.telling.ingress,
        "REMARK": _remark,
    }
    if len({result.scenario.name for result in results}) < 2:
        del columns["SCENARIO"]
    if not any(map(_remark, results)):
        del columns["REMARK"]
    return table(list(columns), [[cell(result) for cell in columns.values()] for result in results])


def _question(probe: Probe) -> str:
    if probe.protocol in ECHO_TYPES:
        return probe.protocol
    families = "" if len(probe.families) > 1 else f" IPv{probe.families[0]}"
    content = "" if probe.content is None else f" {probe.content}"
    return f"{probe.protocol}/{probe.port}{families}{content}"


def _remark(result: Result) -> str:
    """Where a probe that failed stands, in which family it did, and what is odd about its answer."""
    remarks = [result.telling.remark] if result.telling.remark else []
    if not result.ok:
        remarks.insert(0, f"{result.probe.file}:{result.probe.line} over IPv{result.telling.family}")
    return "; ".join(remarks)


def _results(scenarios: tuple[Scenario, ...], live: bool) -> Iterator[Result]:
    if live:
        from kinety.testing.live import run
    else:
        from kinety.testing.offline import run
    for scenario in scenarios:
        yield from run(scenario)


def _read_policy(scenario: str, path: str) -> Document:
    """A policy file that a scenario names, relative to the scenario's own."""
    (document,) = read_documents([str(Path(scenario).parent / path)])
    return Document(document.file, document.text)
