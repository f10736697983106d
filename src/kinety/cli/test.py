"""``kinety test``: scenarios, answered from the plan or with real packets."""

from collections.abc import Iterator
from pathlib import Path

import click

from kinety.cli.documents import read_documents
from kinety.cli.exit_code import OK, REFUSED
from kinety.cli.output import output_option, print_value, table
from kinety.policy.document import Document
from kinety.policy.error import PolicyError
from kinety.testing.outcome import Result
from kinety.testing.scenario import ECHO_TYPES, Scenario, parse_scenarios


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="SCENARIO|DIRECTORY|-...")
@click.option("--live", is_flag=True, help="Build namespaces and a node, and send real packets (root).")
@output_option
def test(files: tuple[str, ...], live: bool, output: str) -> int:
    """Check scenarios: from the plan, or with --live on a throw-away node.

    Ends with status 1 when any probe's outcome is not the expected one.
    """
    documents = [Document(document.file, document.text) for document in read_documents(files)]
    try:
        scenarios = parse_scenarios(documents, _read_policy)
    except PolicyError as error:
        for line in error.lines():
            click.echo(f"kinety: {' '.join(line.split())}", err=True)
        return REFUSED
    results = list(_results(scenarios, live))
    if output == "table":
        click.echo(result_table(results))
    else:
        print_value(output, [result.value() for result in results])
    return OK if all(result.ok for result in results) else REFUSED


def result_table(results: list[Result]) -> str:
    """One line a probe: what was asked, what came of it, and what each end said; remarks if there are any."""
    headers = ["", "FROM", "TO", "PROBE", "EXPECT", "OUTCOME", "EGRESS", "INGRESS"]
    rows = [_row(result) for result in results]
    if any(result.telling.remark for result in results):
        headers.append("REMARK")
        rows = [[*row, result.telling.remark] for row, result in zip(rows, results, strict=True)]
    return table(headers, rows)


def _row(result: Result) -> list[object]:
    probe, telling = result.probe, result.telling
    if probe.protocol in ECHO_TYPES:
        what = probe.protocol
    else:
        families = "" if len(probe.families) > 1 else f" IPv{probe.families[0]}"
        what = f"{probe.protocol}/{probe.port}{families}"
    return [
        "ok" if result.ok else "FAIL",
        probe.source,
        probe.destination,
        what,
        probe.expect,
        telling.outcome,
        telling.egress,
        telling.ingress,
    ]


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
