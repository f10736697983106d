import json
from pathlib import Path
from typing import Any

import pytest

from kinety.cni.call import Call
from kinety.cni.error import CniError
from kinety.cni.ipam import addresses_of, check, delegate, release
from tests.unit.cni.test_call import ENVIRONMENT, NETWORK

PLUGIN = """#!/bin/sh
echo "$CNI_COMMAND $CNI_CONTAINERID $(cat)" >> "$0.log"
cat "$0.says"
exit $(cat "$0.code")
"""


class Plugin:
    """An IPAM plugin that says what it is told to, and a call that delegates to it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "other"
        self.path.write_text(PLUGIN)
        self.path.chmod(0o755)
        self.call = Call(
            ENVIRONMENT | {"CNI_PATH": f"/nowhere:{folder}", "PATH": "/bin"},
            NETWORK | {"ipam": {"type": "other"}},
            "1.1.0",
        )

    def says(self, text: str, code: int = 0) -> None:
        Path(f"{self.path}.says").write_text(text)
        Path(f"{self.path}.code").write_text(str(code))

    @property
    def asked(self) -> list[str]:
        return Path(f"{self.path}.log").read_text().splitlines()


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


def test_it_is_run_as_this_plugin_was(plugin: Plugin) -> None:
    plugin.says('{"ips": []}')
    assert delegate(plugin.call, "DEL") == {"ips": []}
    (line,) = plugin.asked
    command, container, configuration = line.split(" ", 2)
    assert (command, container) == ("DEL", "c1")
    assert json.loads(configuration) == plugin.call.configuration


def test_without_another_plugin_nothing_is_run() -> None:
    assert delegate(Call(ENVIRONMENT, NETWORK | {"ipam": {}}, "1.1.0"), "ADD") == {}


@pytest.mark.parametrize(
    ("said", "status", "code", "word"),
    [
        ('{"code": 11, "msg": "no address", "details": "x"}', 1, 11, "other: no address"),
        ("", 3, 100, "exit status 3"),
        ("nonsense", 0, 100, "no JSON"),
        ("[]", 0, 100, "no JSON object"),
    ],
)
def test_what_it_fails_of_is_passed_on(plugin: Plugin, said: str, status: int, code: int, word: str) -> None:
    plugin.says(said, status)
    with pytest.raises(CniError, match=word) as raised:
        delegate(plugin.call, "ADD")
    assert raised.value.code == code


def test_a_plugin_that_is_nowhere_is_named(plugin: Plugin) -> None:
    plugin.path.unlink()
    with pytest.raises(CniError, match="other is in no directory of CNI_PATH") as raised:
        delegate(plugin.call, "ADD")
    assert raised.value.code == 7


@pytest.mark.parametrize(
    "ipam", [{"subnet": "10.0.0.0/8"}, {"type": "../x"}, {"type": 5}, ["x"], "host-local"]
)
def test_what_names_no_plugin_is_refused(ipam: object) -> None:
    with pytest.raises(CniError) as raised:
        check({"ipam": ipam})
    assert raised.value.code == 2
    check({"ipam": {"type": "host-local"}})


@pytest.mark.parametrize(
    ("result", "found"),
    [
        ({"ips": [{"address": "10.0.0.1/24"}, {"address": "fd00::1/64"}]}, ["10.0.0.1", "fd00::1"]),
        ({"ip4": {"ip": "10.0.0.1/24"}}, ["10.0.0.1"]),
        ({"ips": None}, []),
        ({}, []),
    ],
)
def test_addresses_of_every_version(result: dict[str, Any], found: list[str]) -> None:
    assert addresses_of(result) == found


OLD = '{"supportedVersions": ["0.4.0", "1.0.0"]}'


def test_one_that_is_too_old_is_told_apart(plugin: Plugin) -> None:
    plugin.says('{"code": 1, "msg": "incompatible CNI versions", "details": "config is 1.1.0"}', 1)
    with pytest.raises(CniError, match=r"other does not support CNI version 1\.1\.0") as raised:
        delegate(plugin.call, "ADD")
    assert (raised.value.code, raised.value.details) == (1, "incompatible CNI versions: config is 1.1.0")
    release(plugin.call)
    plugin.says('{"code": 11, "msg": "its lock is held"}', 1)
    with pytest.raises(CniError, match="lock"):
        release(plugin.call)


@pytest.mark.parametrize("command", ["STATUS", "GC"])
def test_what_is_new_is_asked_only_of_those_who_know_it(plugin: Plugin, command: str) -> None:
    plugin.says(OLD)
    with pytest.raises(CniError, match=r"other does not support CNI version 1\.1\.0") as raised:
        delegate(plugin.call, command)
    assert (raised.value.code, raised.value.details) == (1, "it supports 0.4.0, 1.0.0")
    plugin.says(OLD.replace("1.0.0", "1.1.0"))
    delegate(plugin.call, command)
    assert [line.split()[0] for line in plugin.asked] == ["VERSION", "VERSION", command]
