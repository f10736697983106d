import base64

import pytest

from kinety.agent import hooks
from kinety.api.errors import ApiError
from kinety.api.hook import HookObject
from tests.unit.agent.conftest import Agent


def sent(elf: bytes = b"an object") -> HookObject:
    return HookObject("mail.o", base64.b64encode(elf).decode())


def test_filters_are_loaded_listed_and_unloaded(agent: Agent) -> None:
    loaded = hooks.load(agent.control, "no-mail", sent())
    assert hooks.listing(agent.control) == (loaded,)
    assert (loaded.name, loaded.slot, loaded.maps, loaded.pins) == ("no-mail", 0, ("seen",), "/pins")
    [one] = loaded.filters
    assert (one.direction, one.program, one.id, one.verified_instructions) == ("egress", "f", 9, 21)
    assert (one.jited_bytes, one.dropped_packets, one.dropped_bytes) == (102, 2, 120)
    hooks.unload(agent.control, "no-mail")
    assert hooks.listing(agent.control) == ()


def test_events_know_a_hook_by_its_slot_after_it_has_gone_and_after_a_restart(agent: Agent) -> None:
    hooks.load(agent.control, "first", sent())
    hooks.load(agent.control, "second", sent())
    assert agent.control.directory.hook(1) == "second"
    agent.stop()
    agent.start()
    assert agent.control.directory.hook(1) == "second"
    hooks.unload(agent.control, "second")
    assert agent.control.directory.hook(1) == "second", "its last event may be on its way"
    assert agent.control.directory.hook(7) is None


@pytest.mark.parametrize(
    ("elf", "message"), [(b"wrong", "no filter in it"), (b"refused", "verifier: line 2")]
)
def test_what_is_refused_names_the_file(agent: Agent, elf: bytes, message: str) -> None:
    with pytest.raises(ApiError, match=message) as refusal:
        hooks.load(agent.control, "no-mail", sent(elf))
    assert refusal.value.status == 400
    assert refusal.value.problem.file == "mail.o"
    assert refusal.value.problem.log == ("line 1\nline 2" if elf == b"refused" else None)


def test_an_object_comes_in_base64(agent: Agent) -> None:
    with pytest.raises(ApiError, match="object is not base64") as refusal:
        hooks.load(agent.control, "no-mail", HookObject("mail.o", "no base64!"))
    assert refusal.value.status == 400


def test_nothing_is_unloaded_that_is_not_there(agent: Agent) -> None:
    with pytest.raises(ApiError, match="there is no hook no-mail") as refusal:
        hooks.unload(agent.control, "no-mail")
    assert refusal.value.status == 404
