import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import yaml
from click.testing import Result

from kinety.api.overview import Reconciliation
from kinety.cli.status import _duration
from tests.served_node import STATUS, ValueNode

Run = Callable[..., Result]


def test_for_people(run: Run, node: ValueNode) -> None:
    fields, programs, counters = run("status").stdout.split("\n\n")
    shown = dict(line.split(maxsplit=1) for line in fields.splitlines())
    assert shown["Memory"] == "64.0 MiB"
    assert shown["Kernel"] == "in-sync"
    assert shown["Endpoints"] == "2, 1 ready"
    assert shown["Attached"] == "by tcx links, 1 of 2 endpoints"
    assert shown["Policies"] == "1 with 1 rule in 3 rule sets"
    assert shown["Addresses"] == "2 of 6 in 10.0.0.0/29; 1 of 7 in fd00::/125"
    assert shown["Proxies"] == "envoy: no policy needs it; dns, 2 listeners"
    assert shown["Names"] == (
        "3 mappings of at most 100, 1 held by open flows, 4 gone before their time, 11 answers not learnt"
    )
    assert shown["Runtimes"] == "containerd; podman: nobody there"
    assert shown["Events"] == "new flows, drops and changes, 0 watching"
    assert shown["Without"] == "nothing"
    assert shown["Loaded"] == "1 program and 1 map, adopted in 12 ms"
    assert shown["Programs"] == "version 0123456789abcdef"
    assert programs.splitlines()[1].split() == ["from_endpoint", "5", "3014", "14025", "12501"]
    assert counters.splitlines()[1].split(maxsplit=3) == ["7", "420", "ingress", "Denied by policy"]


def test_addresses_that_are_in_no_pool_or_that_nobody_gets_yet(run: Run, node: ValueNode) -> None:
    def shown() -> str:
        lines = dict(line.split(maxsplit=1) for line in run("status").stdout.split("\n\n")[0].splitlines())
        return lines["Addresses"]

    first, second = STATUS.pools
    node.state = replace(STATUS, pools=(replace(first, quarantined=3), second), addresses_outside=4)
    assert shown() == "2 of 6 in 10.0.0.0/29, 3 in quarantine; 1 of 7 in fd00::/125; 4 outside of the pools"
    node.state = replace(STATUS, pools=())
    assert shown() == "no pool"
    node.state = replace(STATUS, pools=(), addresses_outside=4)
    assert shown() == "4; no pool"


def test_a_kernel_without_tcx_is_seen(run: Run, node: ValueNode) -> None:
    node.state = replace(STATUS, datapath=replace(STATUS.datapath, tcx=False, endpoints_promoted=0))
    assert "by clsact filters; tcx: no" in run("status").stdout
    node.state = replace(STATUS, datapath=replace(STATUS.datapath, tcx=False))
    assert "by tcx links, 1 of 2 endpoints; tcx: no" in run("status").stdout


def test_what_the_programs_have_no_code_for(run: Run, node: ValueNode) -> None:
    less = replace(STATUS.datapath.configuration, events="none", shadow=False, fragments=False, hooks=False)
    node.state = replace(STATUS, datapath=replace(STATUS.datapath, configuration=less))
    shown = dict(line.split(maxsplit=1) for line in run("status").stdout.split("\n\n")[0].splitlines())
    assert shown["Events"] == "none"
    assert shown["Without"] == "events, shadow, fragments, hooks"


def test_a_kernel_that_refuses_is_seen_with_the_reason(run: Run, node: ValueNode) -> None:
    trouble = Reconciliation("retrying", "no space in map x", 3, 0.4)
    node.state = replace(STATUS, reconciliation=trouble)
    line = next(line for line in run("status").stdout.splitlines() if line.startswith("Kernel"))
    assert line.split(maxsplit=1)[1] == "retrying: no space in map x (3 attempts, again in 0 s)"


@pytest.mark.parametrize(("output", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_for_programs(run: Run, output: str, load: Callable[[str], object]) -> None:
    value = load(run("status", "-o", output).stdout)
    assert isinstance(value, dict)
    assert value["datapath"]["programs"][0]["verified_instructions"] == 14025
    assert value["reconciliation"]["state"] == "in-sync"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.9, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3600, "1 h 0 min"), (86400 * 3 + 7200, "3 d 2 h")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert _duration(seconds) == shown
