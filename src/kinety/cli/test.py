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
from kinety.testing.scenario import Scenario, parse_scenarios


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="SCENARIO|DIRECTORY|-...")
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
    """One line a probe."""
    headers = ["", "FROM", "TO", "PROBE", "EXPECT", "OUTCOME", "DECIDED BY"]
    return table(headers, [_row(result) for result in results])


def _row(result: Result) -> list[object]:
    probe, telling = result.probe, result.telling
    what = probe.protocol if probe.protocol.startswith("ICMP") else f"{probe.protocol}/{probe.port}"
    families = "" if len(probe.families) > 1 else f" IPv{probe.families[0]}"
    return [
        "ok" if result.ok else "FAIL",
        probe.source,
        probe.destination,
        f"{what}{families}",
        probe.expect,
        telling.outcome,
        telling.reason,
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
