"""With --no-shadow, whatever would only be told of is refused, and nothing changes."""

from dataclasses import replace

import pytest

from kinety.agent import unjudged
from kinety.agent.node import stored_files
from kinety.api.errors import ApiError
from kinety.policy.error import PolicyError
from tests.unit.agent.conftest import POLICY, Agent, files

STAGED = POLICY.replace("{name: NAME}", '{name: NAME, annotations: {kinety.io/staged: "true"}}')
AUDIT = STAGED.replace("staged", "audit")


@pytest.fixture
def without(busy: Agent) -> Agent:
    """A server and a client under a policy, and programs that ask no shadow rule sets."""
    busy.datapath.settings = replace(busy.datapath.settings, shadow=False)
    return busy


@pytest.mark.parametrize(("text", "mode"), [(STAGED, "staged"), (AUDIT, "audit")])
def test_a_policy_that_is_not_in_force_is_refused_where_it_stands(
    without: Agent, text: str, mode: str
) -> None:
    before = without.held()
    both = (*files("fine"), *files("odd", text=text))
    for realise in (without.control.apply, without.control.rehearse):
        with pytest.raises(PolicyError, match=f"nobody would judge a policy that is {mode}") as caught:
            realise(both)
        assert (caught.value.file, caught.value.line) == ("odd.yaml", 1)
        assert "--shadow" in caught.value.hint
    assert without.held() == before


def test_a_policy_in_force_is_applied(without: Agent) -> None:
    assert without.control.apply(files("fine")).outcomes
    assert without.agrees()


@pytest.mark.parametrize(("name", "who"), [("server", "endpoint default/server"), ("", "namespace default")])
def test_an_audit_is_refused_and_may_be_ended(without: Agent, name: str, who: str) -> None:
    before = without.held()
    with pytest.raises(ApiError, match=f"nobody would judge what {who} does in audit"):
        without.control.audit("default", name, True)
    assert without.held() == before
    assert without.control.audit("default", name, False) == 0


def test_a_store_of_policies_in_force_is_fine(busy: Agent) -> None:
    unjudged.refuse_held(busy.store.audited(), busy.control.declarations.values())
    assert [file.file for file in stored_files(busy.store)] == ["rule1.yaml"]


def test_a_store_with_a_staged_policy_is_refused(busy: Agent) -> None:
    busy.control.apply(files("later", text=STAGED))
    with pytest.raises(PolicyError, match=r"later.yaml:1: .* staged; put it into force"):
        unjudged.refuse_held(busy.store.audited(), busy.control.declarations.values())


@pytest.mark.parametrize(("name", "who"), [("server", "endpoint default/server"), ("", "namespace default")])
def test_a_store_with_an_audit_is_refused(busy: Agent, name: str, who: str) -> None:
    busy.control.audit("default", name, True)
    with pytest.raises(ValueError, match=f"nobody would judge {who}, which is in audit"):
        unjudged.refuse_held(busy.store.audited(), busy.control.declarations.values())
