"""How answers are printed: a table for people, JSON and YAML for programs."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click

from kinety.api.decode import encode

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])


def _output_option(*formats: str) -> Callable[[_F], _F]:
    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats),
        default="table",
        show_default=True,
        help="How to print the answer.",
    )


output_option = _output_option("table", "json", "yaml")
#: For lists that have more columns than fit beside each other on most terminals.
wide_output_option = _output_option("table", "wide", "json", "yaml")


def print_list(output: str, values: Sequence[_T], columns: Mapping[str, Callable[[_T], object]]) -> None:
    """Print dataclasses: as a table of the columns, or as they are."""
    if output == "table":
        click.echo(table(list(columns), [[cell(value) for cell in columns.values()] for value in values]))
    else:
        print_value(output, encode(values))


def print_fields(output: str, value: _T, fields: Mapping[str, Callable[[_T], object]]) -> None:
    """Print one dataclass: a line for each field, or as it is."""
    if output == "table":
        width = max(map(len, fields))
        for name, cell in fields.items():
            click.echo(f"{name:<{width}}  {text(cell(value))}".rstrip())
    else:
        print_value(output, encode(value))


def print_value(output: str, value: Any) -> None:
    """Print a JSON value as JSON or YAML."""
    if output == "yaml":
        import yaml

        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        click.echo(yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns two spaces apart, as wide as their widest cell; numbers to the right."""
    cells = [[text(cell) for cell in row] for row in rows]
    numeric = [isinstance(cell, (int, float)) for cell in next(iter(rows), [])] or [False] * len(headers)
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    lines = []
    for row in ([*headers], *cells):
        line = "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        lines.append(line.rstrip())
    return "\n".join(lines)


def text(value: object) -> str:
    """A value as one cell: nothing in it can move the cursor or colour the terminal."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (dict, list, tuple)):
        value = json.dumps(value, ensure_ascii=False)
    shown = str(value)
    return shown if shown.isprintable() else shown.encode("unicode_escape").decode("ascii")


def counted(number: int, noun: str) -> str:
    """A number of things: ``1 rule``, ``2 rules``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def amount(number: float) -> str:
    """Bytes for people: ``1.4 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    raise AssertionError("unreachable")


def short_labels(labels: Sequence[str]) -> str:
    """Labels for people: those that every endpoint has by its namespace are left out, ``k8s:`` too."""
    shown = (label.removeprefix("k8s:") for label in labels)
    return ", ".join(label for label in shown if not label.startswith(("io.kubernetes.", "io.cilium.")))
