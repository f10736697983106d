"""The table that leads packets to listeners, in a namespace of the test's own; tests/netns has packets."""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from kinety import abi
from kinety.datapath import nft
from kinety.datapath.tproxy import TproxyTable
from kinety.kernel.namespace import Namespace

pytestmark = pytest.mark.needs("root", "netns", "nft")

TABLE = "kt_proxy"


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace.create(f"kt-{os.getpid()}-{secrets.token_hex(4)}")
    yield made
    made.remove()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What nft was told, but for questions."""
    scripts: list[str] = []
    run = nft.run

    def noted(arguments: list[str], text: str = "") -> str:
        if text:
            scripts.append(text)
        return run(arguments, text)

    monkeypatch.setattr(nft, "run", noted)
    return scripts


def command(namespace: Namespace, *words: str) -> str:
    return namespace.call(
        lambda: subprocess.run(words, check=True, capture_output=True, text=True, timeout=20).stdout
    )


def table(namespace: Namespace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(command(namespace, "nft", "-j", "list", "ruleset"))["nftables"]
    return found


def led(namespace: Namespace) -> set[int]:
    """Ports that the table leads to; each by its own number, as nftables writes priorities."""
    [elements] = [each["map"].get("elem", []) for each in table(namespace) if "map" in each]
    for key, port in elements:
        assert key == f"0:{port:x}"
    return {port for _, port in elements}


def test_a_port_more_is_an_element_more_and_what_is_there_is_not_said_again(
    namespace: Namespace, told: list[str]
) -> None:
    made = TproxyTable(TABLE)
    assert namespace.call(made.lead, {10001}) == 1
    assert "chain" in told[-1]
    assert namespace.call(made.lead, {10001, 10002, 14999}) == 1
    assert "chain" not in told[-1]
    assert led(namespace) == {10001, 10002, 14999}
    assert namespace.call(made.lead, {10002}) == 0
    assert len(told) == 2


def test_ports_of_former_listeners_stay_and_lead_nowhere_else(namespace: Namespace) -> None:
    made = TproxyTable(TABLE)
    namespace.call(made.lead, {10001, 10002})
    namespace.call(made.lead, {10003})
    assert led(namespace) == {10001, 10002, 10003}


def test_the_next_agent_takes_over_what_it_finds(namespace: Namespace, told: list[str]) -> None:
    namespace.call(TproxyTable(TABLE).lead, {10001, 10002})
    told.clear()
    again = TproxyTable(TABLE)
    assert namespace.call(again.lead, {10002}) == 0
    assert namespace.call(again.lead, {10003}) == 1
    assert len(told) == 1
    assert led(namespace) == {10001, 10002, 10003}


@pytest.mark.parametrize(
    "harm",
    [
        ("flush", "ruleset"),
        ("delete", "table", "inet", TABLE),
    ],
    ids=" ".join,
)
def test_a_table_that_was_removed_is_written_again_with_the_next_port(
    namespace: Namespace, told: list[str], harm: tuple[str, ...]
) -> None:
    """By the agent that wrote it, all of it; and by the next one at once."""
    made = TproxyTable(TABLE)
    namespace.call(made.lead, {10001})
    whole = command(namespace, "nft", "list", "ruleset")
    command(namespace, "nft", *harm)
    assert namespace.call(made.lead, {10001, 10002}) == 1
    assert led(namespace) == {10001, 10002}
    command(namespace, "nft", *harm)
    assert namespace.call(TproxyTable(TABLE).lead, {10001}) == 1
    assert command(namespace, "nft", "list", "ruleset") == whole


def test_a_table_of_another_kind_is_replaced(namespace: Namespace) -> None:
    """As other redirects have it, and as somebody else may."""
    command(namespace, "nft", "add", "table", "inet", TABLE)
    command(namespace, "nft", "add", "chain", "inet", TABLE, "prerouting")
    assert namespace.call(TproxyTable(TABLE).lead, {10001}) == 1
    hooks = {each["chain"]["name"]: each["chain"].get("hook") for each in table(namespace) if "chain" in each}
    assert hooks == {"prerouting": "prerouting", "output": "output"}


def test_what_nft_refuses_is_said_and_asked_again(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = TproxyTable(TABLE)
    monkeypatch.setattr(nft, "_NFT", "/no/such/nft")
    with pytest.raises(FileNotFoundError, match="install the package nftables"):
        namespace.call(made.lead, {10001})
    monkeypatch.undo()
    assert namespace.call(made.lead, {10001}) == 1
    monkeypatch.setattr(nft, "_NFT", "/no/such/nft")
    with pytest.raises(FileNotFoundError):
        namespace.call(made.lead, {10001, 10002})
    monkeypatch.undo()
    assert led(namespace) == {10001}, "nothing of it was done"
    assert namespace.call(made.lead, {10001, 10002}) == 1
    assert led(namespace) == {10001, 10002}


def test_only_what_bears_the_mark_is_looked_at(namespace: Namespace) -> None:
    namespace.call(TproxyTable(TABLE).lead, {10001})
    prerouting = [each["rule"] for each in table(namespace) if "rule" in each]
    first = next(rule["expr"] for rule in prerouting if rule["chain"] == "prerouting")
    mark = {"&": [{"meta": {"key": "mark"}}, int(abi.Mark.KIND & ~abi.Mark.ANSWERED_HERE)]}
    unled = int(abi.Mark.TO_PROXY | abi.Mark.UNLED)
    assert first == [{"match": {"op": "!=", "left": mark, "right": unled}}, {"accept": None}]
