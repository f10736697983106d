"""From a request to the datapath's reload: what is named changes, and refusals say what of it is wrong."""

from __future__ import annotations

import base64
import errno
from dataclasses import fields, replace

import pytest

from kinety.abi import EventLevel
from kinety.agent import reload as reloading
from kinety.agent.reload import reload
from kinety.api.errors import ApiError
from kinety.api.overview import Configuration
from kinety.api.reload import CutOff, ReloadRequest
from kinety.datapath.replacement import PutBackError
from kinety.datapath.settings import SWITCHES
from kinety.kernel.program import VerifierRefusal
from tests.unit.agent.conftest import Agent

ELF = b"\x7fELF and the rest"
BROUGHT = base64.b64encode(ELF).decode()


@pytest.fixture(autouse=True)
def packaged(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What is on disk."""
    monkeypatch.setattr(reloading, "packaged_object", lambda: b"packaged")
    return b"packaged"


@pytest.mark.parametrize(
    ("request_", "changed", "elf"),
    [
        (ReloadRequest(), {}, b"packaged"),
        (ReloadRequest(events="drops"), {"event_level": EventLevel.DROPS}, None),
        (ReloadRequest(events="none", hooks=False), {"event_level": EventLevel.NONE, "hooks": False}, None),
        (ReloadRequest(events="flows"), {}, None),
        (ReloadRequest(shadow=False, fragments=False), {"shadow": False, "fragments": False}, None),
        (ReloadRequest(ipv4=False, ipv6=True), {"ipv4": False}, None),
        (ReloadRequest(object=BROUGHT), {}, ELF),
        (ReloadRequest(object=BROUGHT, ipv6=False), {"ipv6": False}, ELF),
    ],
)
def test_what_is_named_changes_and_nothing_else(
    busy: Agent, request_: ReloadRequest, changed: dict[str, int], elf: bytes | None
) -> None:
    held = busy.datapath.settings
    reload(busy.control, request_)
    assert busy.datapath.asked == [(replace(held, **changed), elf)]


def test_every_switch_can_be_asked_for_and_is_told() -> None:
    told, asked = ({each.name for each in fields(cls)} for cls in (Configuration, ReloadRequest))
    assert told == SWITCHES.keys()
    assert asked - told == {"object", "file"}


def test_the_answer_says_what_is_in_force_and_who_is_cut_off(busy: Agent) -> None:
    found = reload(busy.control, ReloadRequest(ipv6=False, events="drops"))
    assert (found.changed, found.version, found.endpoints) == (True, "fedcba9876543210", 2)
    assert found.configuration == Configuration(
        ipv4=True, ipv6=False, events="drops", shadow=True, fragments=True, hooks=True
    )
    assert found.cut_off == (CutOff(6, 2),)
    assert (found.load_seconds, found.move_seconds) == (0.1, 0.2)
    assert found.after[0].instructions == 3000
    again = reload(busy.control, ReloadRequest(ipv6=True))
    assert (again.cut_off, again.configuration.events) == ((), "drops")


def test_an_object_that_is_no_base64_is_refused(busy: Agent) -> None:
    with pytest.raises(ApiError, match="object: it is not in base64") as refusal:
        reload(busy.control, ReloadRequest(object="%%"))
    assert (refusal.value.status, busy.datapath.asked) == (400, [])


def test_the_verifiers_refusal_is_one_line_and_its_log_comes_with_it(busy: Agent) -> None:
    refused = VerifierRefusal(errno.EACCES, "load program to_endpoint: Permission denied", "line 1\nline 2")
    refused.add_note("verifier: R9 !read_ok")
    busy.datapath.refusal = refused
    with pytest.raises(ApiError) as refusal:
        reload(busy.control, ReloadRequest(object=BROUGHT, file="new.o"))
    assert str(refusal.value) == (
        "new.o: the kernel refused: load program to_endpoint: Permission denied; verifier: R9 !read_ok"
    )
    assert (refusal.value.status, refusal.value.problem.log) == (400, "line 1\nline 2")


def test_an_object_that_does_not_fit_is_told_by_its_name(busy: Agent) -> None:
    busy.datapath.refusal = ValueError("compiled with contract 0x1")
    with pytest.raises(ApiError) as refusal:
        reload(busy.control, ReloadRequest(object=BROUGHT, file="old.o"))
    assert (refusal.value.status, str(refusal.value)) == (400, "old.o: compiled with contract 0x1")


def test_a_missing_package_is_told_with_what_to_do(busy: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> bytes:
        raise FileNotFoundError(errno.ENOENT, "run `make bpf`", "/there/endpoint.o")

    monkeypatch.setattr(reloading, "packaged_object", missing)
    with pytest.raises(ApiError, match=r"/there/endpoint\.o: run `make bpf`"):
        reload(busy.control, ReloadRequest())


def test_what_could_not_be_put_back_is_mended(busy: Agent) -> None:
    before = busy.datapath.restored
    busy.datapath.refusal = PutBackError(errno.ENOMEM, "1 of 2 places could not be put back")
    with pytest.raises(PutBackError):
        busy.control.reload(busy.datapath.settings, ELF)
    assert busy.datapath.restored == before + 1
    assert not busy.control.repair.pending


def test_a_plain_refusal_needs_no_mending(busy: Agent) -> None:
    before = busy.datapath.restored
    busy.datapath.refusal = OSError(errno.EMFILE, "too many files")
    with pytest.raises(OSError, match="too many"):
        busy.control.reload(busy.datapath.settings, ELF)
    assert (busy.datapath.restored, busy.control.repair.pending) == (before, False)


def test_nothing_is_reloaded_while_the_kernel_refuses_the_plan(busy: Agent) -> None:
    busy.datapath.failing = "restore"
    busy.control.repair.after(OSError(errno.ENOMEM, "no memory"))
    assert busy.control.repair.pending
    busy.datapath.failing = "restore"
    with pytest.raises(ApiError, match="so nothing can change") as refusal:
        reload(busy.control, ReloadRequest(events="drops"))
    assert (refusal.value.status, busy.datapath.asked) == (503, [])


def test_shadow_rule_sets_are_asked_as_long_as_somebody_needs_them(busy: Agent) -> None:
    busy.control.audit("default", "", True)
    with pytest.raises(ApiError, match="with --no-shadow nobody would judge namespace default") as refusal:
        reload(busy.control, ReloadRequest(shadow=False))
    assert (refusal.value.status, busy.datapath.asked) == (400, [])
    busy.control.audit("default", "", False)
    assert reload(busy.control, ReloadRequest(shadow=False)).configuration.shadow is False
