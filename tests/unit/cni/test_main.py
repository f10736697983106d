import io
import json
from typing import Any

import pytest

from kinety.cni import main as plugin
from kinety.cni.main import run
from kinety.cni.version import NEWEST, SUPPORTED
from tests.unit.cni.test_call import ENVIRONMENT, NETWORK


def answer(command: str, stdin: bytes) -> tuple[int, Any]:
    return run(ENVIRONMENT | {"CNI_COMMAND": command}, io.BytesIO(stdin))


@pytest.mark.parametrize(
    ("stdin", "version"),
    [(b"", NEWEST), (b'{"cniVersion": "0.4.0"}', "0.4.0"), (b'{"cniVersion": "7.0.0"}', "7.0.0")],
)
def test_version_says_what_is_supported(stdin: bytes, version: str) -> None:
    assert answer("VERSION", stdin) == (0, {"cniVersion": version, "supportedVersions": SUPPORTED})


@pytest.mark.parametrize("version", SUPPORTED)
def test_an_error_is_of_the_version_that_was_asked(version: str) -> None:
    code, said = answer("ADD", json.dumps({"cniVersion": version}).encode())
    assert (code, said["cniVersion"], said["code"]) == (1, version, 7)


def test_an_error_about_the_version_is_of_one_that_is_supported() -> None:
    code, said = answer("ADD", b'{"cniVersion": "9.0.0", "name": "net"}')
    assert (code, said["cniVersion"], said["code"]) == (1, NEWEST, 1)
    assert "9.0.0" in said["details"]


def test_a_version_that_is_no_text_is_not_decoded() -> None:
    assert answer("ADD", b'{"cniVersion": 1}')[1]["code"] == 6


def test_a_network_without_a_version_is_of_the_first() -> None:
    assert answer("ADD", b"{}")[1]["cniVersion"] == "0.1.0"


def test_what_nobody_foresaw_is_an_error_in_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(call: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(plugin, "OPERATIONS", {"DEL": fail})
    code, said = answer("DEL", json.dumps(NETWORK).encode())
    assert (code, said["code"], said["details"]) == (1, 100, "ZeroDivisionError: by zero")
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("network", "own"),
    [
        ({}, True),
        ({"socket": "/agent.sock"}, False),
        ({"socket": "/agent.sock", "ipam": {"type": "host-local"}}, True),
        ({"socket": "/agent.sock", "ipam": {}}, False),
        ({"socket": 7}, False),
    ],
)
def test_the_agent_leaves_to_a_process_what_is_not_its_own(network: dict[str, Any], own: bool) -> None:
    assert plugin.needs_own_process(json.dumps(network).encode(), "/agent.sock") is own


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"[" * 100_000])
def test_an_error_is_the_same_wherever_it_is_found(data: bytes) -> None:
    assert not plugin.needs_own_process(data, "/agent.sock")


def test_what_an_agent_died_of_is_done_in_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "OPERATIONS", {"ADD": lambda call: {"a": 1}, "DEL": lambda call: None})
    monkeypatch.setattr(plugin, "LOST", {"ADD": lambda call: {"a": 2}})
    stdin = json.dumps(NETWORK).encode()
    for command, expected in (("ADD", {"a": 2}), ("DEL", None)):
        environment = ENVIRONMENT | {"CNI_COMMAND": command}
        assert run(environment, io.BytesIO(stdin), lost=True) == (0, expected)
