import io
import json
from typing import Any

import pytest

from kinety.cni.call import Call, read_configuration
from kinety.cni.error import CniError

ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/c1",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web;;X=a=b",
}
NETWORK: dict[str, Any] = {"cniVersion": "1.1.0", "name": "net", "type": "kinety-cni"}


def refused(environment: dict[str, str], configuration: dict[str, Any] = NETWORK) -> CniError:
    with pytest.raises(CniError) as raised:
        Call(environment, configuration, configuration["cniVersion"])
    return raised.value


def test_everything_is_taken_as_it_comes() -> None:
    call = Call(ENVIRONMENT, NETWORK, "1.1.0")
    assert (call.command, call.container, call.interface, call.netns) == (
        "ADD",
        "c1",
        "eth0",
        "/run/netns/c1",
    )
    assert call.arguments == {"IgnoreUnknown": "1", "K8S_POD_NAME": "web", "X": "a=b"}
    assert call.network == "net"


@pytest.mark.parametrize("command", [None, "", "add", "RUN"])
def test_a_command_must_be_one(command: str | None) -> None:
    environment = {key: value for key, value in ENVIRONMENT.items() if key != "CNI_COMMAND"}
    error = refused(environment if command is None else environment | {"CNI_COMMAND": command})
    assert (error.code, "CNI_COMMAND" in error.msg) == (4, True)


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("ADD", {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}),
        ("CHECK", {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}),
        ("DEL", {"CNI_CONTAINERID", "CNI_IFNAME"}),
        ("STATUS", set()),
        ("GC", set()),
    ],
)
def test_what_is_missing_is_named_all_at_once(command: str, needed: set[str]) -> None:
    environment = {"CNI_COMMAND": command}
    if not needed:
        assert Call(environment, NETWORK, "1.1.0").command == command
        return
    error = refused(environment)
    assert error.code == 4
    assert {word for word in error.msg.replace(",", "").split() if word.startswith("CNI_")} == needed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CNI_CONTAINERID", "-c1"),
        ("CNI_CONTAINERID", "../c1"),
        ("CNI_CONTAINERID", "c1\n"),
        ("CNI_CONTAINERID", "c" * 201),
        ("CNI_IFNAME", "."),
        ("CNI_IFNAME", ".."),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "a:b"),
        ("CNI_IFNAME", "a b"),
        ("CNI_IFNAME", "x" * 16),
        ("CNI_ARGS", "K8S_POD_NAME"),
    ],
)
def test_variables_that_cannot_be(name: str, value: str) -> None:
    error = refused(ENVIRONMENT | {name: value})
    assert (error.code, name in error.msg) == (4, True)


@pytest.mark.parametrize("name", ["eth0", "...", "x" * 15, "a@b", "ü"])
def test_interfaces_may_be_called_as_linux_lets_them(name: str) -> None:
    assert Call(ENVIRONMENT | {"CNI_IFNAME": name}, NETWORK, "1.1.0").interface == name


@pytest.mark.parametrize("name", [None, "", "a b", "-net", 5])
def test_a_network_has_a_name(name: object) -> None:
    assert refused(ENVIRONMENT, NETWORK | {"name": name}).code == 7


def test_a_del_does_not_fail_of_what_it_does_not_need() -> None:
    environment = ENVIRONMENT | {"CNI_COMMAND": "DEL", "CNI_NETNS": "", "CNI_ARGS": "nonsense"}
    assert Call(environment, {}, "1.1.0").container == "c1"


@pytest.mark.parametrize(("version", "command"), [("2.0.0", "ADD"), ("0.3.1", "CHECK"), ("1.0.0", "GC")])
def test_versions_are_told_apart(version: str, command: str) -> None:
    error = refused(ENVIRONMENT | {"CNI_COMMAND": command}, NETWORK | {"cniVersion": version})
    assert (error.code, version in error.details) == (1, True)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_not_decoded(data: bytes) -> None:
    with pytest.raises(CniError) as raised:
        read_configuration(io.BytesIO(data))
    assert raised.value.code == 6


def test_what_cannot_be_read_is_an_io_failure() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(CniError) as raised:
        read_configuration(Broken())
    assert (raised.value.code, raised.value.details) == (5, "[Errno 5] Input/output error")
    assert read_configuration(io.BytesIO(json.dumps(NETWORK).encode())) == NETWORK
