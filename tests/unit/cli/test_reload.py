"""``kinety datapath reload``: what it asks of the agent, and how it tells what became of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
from click.testing import Result

from kinety.api.errors import ApiError, refuse
from kinety.api.overview import Configuration, Program
from kinety.api.reload import OBJECT_LIMIT, CutOff, ReloadRequest, ReloadResult
from tests.served_node import ValueNode

Run = Callable[..., Result]

RESULT = ReloadResult(
    changed=True,
    version="fedcba9876543210",
    configuration=Configuration(
        ipv4=True, ipv6=False, events="flows", shadow=True, fragments=True, hooks=True
    ),
    before=(Program("from_endpoint", 5, "aa", 3014, 15970, 13951),),
    after=(Program("from_endpoint", 9, "bb", 2774, 13697, 12798),),
    endpoints=12,
    load_seconds=0.0341,
    move_seconds=0.0029,
    cut_off=(CutOff(6, 11),),
)


def test_it_is_told_what_changed_for_how_long_and_who_is_cut_off(run: Run, node: ValueNode) -> None:
    node.reloaded = RESULT
    head, names, row, cut, until = run("datapath", "reload", "--no-ipv6").stdout.splitlines()
    assert head == "version fedcba9876543210 under 12 endpoints: loaded in 34.1 ms, put in place in 2.9 ms"
    assert names.split()[:3] == ["PROGRAM", "ID", "INSTRUCTIONS"]
    assert len(row) == len(names), "numbers are to the right"
    assert row.split() == ["from_endpoint", "9", "2774", "3014", "13697", "15970", "12798", "13951"]
    assert cut == "IPv6 is dropped; addresses of it: 11 endpoints"
    assert until == "it holds until the agent starts again: its options decide then"


def test_every_switch_of_the_request_is_an_option(run: Run) -> None:
    shown = run("datapath", "reload", "--help").stdout
    for each in fields(Configuration):
        words = (
            "--events [flows|drops|none]" if each.name == "events" else f"--{each.name} / --no-{each.name}"
        )
        assert words in shown


def test_nothing_to_do_is_told(run: Run, node: ValueNode) -> None:
    node.reloaded = replace(RESULT, changed=False, cut_off=())
    shown = run("datapath", "reload", "--ipv6").stdout
    assert shown == "version fedcba9876543210 is in force already; nothing was loaded\n"


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], ReloadRequest()),
        (["--no-ipv4"], ReloadRequest(ipv4=False)),
        (["--ipv6", "--events", "drops"], ReloadRequest(ipv6=True, events="drops")),
        (["--no-hooks", "--shadow"], ReloadRequest(hooks=False, shadow=True)),
    ],
)
def test_only_what_is_named_is_asked_for(
    run: Run, node: ValueNode, words: list[str], asked: ReloadRequest
) -> None:
    node.reloaded = RESULT
    shown = run("datapath", "reload", *words, "-o", "json").stdout
    assert node.asked == [asked]
    assert json.loads(shown)["configuration"] == asdict(RESULT.configuration)


def test_an_object_is_sent_by_its_bytes(run: Run, node: ValueNode, tmp_path: Path) -> None:
    node.reloaded = RESULT
    path = tmp_path / "new.o"
    path.write_bytes(b"\x7fELF\x00\xff")
    run("datapath", "reload", "--object", str(path))
    (asked,) = node.asked
    assert isinstance(asked, ReloadRequest)
    assert base64.b64decode(asked.object or "") == b"\x7fELF\x00\xff"
    assert asked.file == str(path)


def test_the_largest_object_fits_into_a_request(run: Run, node: ValueNode, tmp_path: Path) -> None:
    node.reloaded = RESULT
    path = tmp_path / "large.o"
    path.write_bytes(bytes(OBJECT_LIMIT))
    assert run("datapath", "reload", "--object", str(path)).stdout
    path.write_bytes(bytes(OBJECT_LIMIT + 1))
    with pytest.raises(ValueError, match="larger than"):
        run("datapath", "reload", "--object", str(path))
    assert len(node.asked) == 1


def test_the_verifiers_log_is_written_where_it_is_wanted(run: Run, node: ValueNode, tmp_path: Path) -> None:
    node.reloaded = refuse(400, "the kernel refused: R9 !read_ok", log="all\nof it\n")
    log = tmp_path / "verifier.log"
    with pytest.raises(ApiError, match=r"^the kernel refused: R9 !read_ok$"):
        run("datapath", "reload", "--verifier-log", str(log))
    assert log.read_text() == "all\nof it\n"


def test_no_log_no_file(run: Run, node: ValueNode, tmp_path: Path) -> None:
    node.reloaded = refuse(400, "not an object")
    with pytest.raises(ApiError, match="not an object"):
        run("datapath", "reload", "--verifier-log", str(tmp_path / "verifier.log"))
    assert list(tmp_path.glob("verifier.log")) == []
