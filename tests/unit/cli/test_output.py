import json

import pytest
import yaml

from kinety.api.overview import Pool
from kinety.cli.output import amount, print_list, short_labels, table, text

POOLS = [Pool("10.0.0.0/8", 3, 200), Pool("fd00::/64", 12, 5)]
COLUMNS = {"PREFIX": lambda pool: pool.prefix, "USED": lambda pool: pool.used}


def test_table_aligns_numbers_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    print_list("table", POOLS, COLUMNS)
    assert capsys.readouterr().out == "PREFIX      USED\n10.0.0.0/8     3\nfd00::/64     12\n"


def test_an_empty_table_is_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    print_list("table", [], COLUMNS)
    assert capsys.readouterr().out == "PREFIX  USED\n"


@pytest.mark.parametrize(("output", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_every_field(output: str, load: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(load)
    print_list(output, POOLS, COLUMNS)
    assert load(capsys.readouterr().out) == [
        {"prefix": "10.0.0.0/8", "used": 3, "size": 200, "quarantined": 0},
        {"prefix": "fd00::/64", "used": 12, "size": 5, "quarantined": 0},
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ("", "-"),
        (0, "0"),
        (True, "yes"),
        ("ünï", "ünï"),
        ("\x1b[31mred\n", "\\x1b[31mred\\n"),
        ({"a": [1]}, '{"a": [1]}'),
    ],
)
def test_cells(value: object, shown: str) -> None:
    assert text(value) == shown


def test_table_takes_uneven_cells() -> None:
    assert table(["A", "B"], [["long cell", None], ["x", 5]]) == "A          B\nlong cell  -\nx          5"


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**31, "2.0 GiB"), (2**42, "4096.0 GiB")],
)
def test_amounts(number: int, shown: str) -> None:
    assert amount(number) == shown


def test_labels_for_people() -> None:
    labels = ("k8s:io.kubernetes.pod.namespace=default", "k8s:org=empire", "reserved:host")
    assert short_labels(labels) == "org=empire, reserved:host"
