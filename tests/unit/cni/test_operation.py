from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kinety.api import departure
from kinety.cni import operation
from kinety.cni.agent import AgentAway, Refusal
from kinety.cni.call import Call
from kinety.cni.error import CniError
from tests.unit.cni.test_call import ENVIRONMENT, NETWORK
from tests.unit.cni.test_result import ADDED, ENDPOINT, STATE

AWAY = AgentAway("no agent", asked=False)
DIED = AgentAway("died", asked=True)
ABSENT = Refusal(404, "no such thing", "")
FINE: dict[str, Any] = {
    "reconciliation": {"state": "in-sync", "error": None},
    "pools": [
        {"prefix": "10.0.0.0/30", "used": 1, "quarantined": 0, "size": 2},
        {"prefix": "10.9.0.0/30", "used": 2, "quarantined": 0, "size": 2},
    ],
}
IPV6_FULL = {"prefix": "fd00::/126", "used": 2, "quarantined": 1, "size": 3}


class Agent:
    """Gives the next answer, or raises it; remembers what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, place: str, method: str, path: str, body: Any = None) -> Any:
        self.asked.append(f"{method} {path}")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


Speak = Callable[..., Agent]


@pytest.fixture
def speak(monkeypatch: pytest.MonkeyPatch) -> Speak:
    def agent(*answers: Any) -> Agent:
        made = Agent(*answers)
        monkeypatch.setattr(operation, "ask", made)
        return made

    return agent


def call(command: str, tmp_path: Path, **fields: Any) -> Call:
    return Call(
        ENVIRONMENT | {"CNI_COMMAND": command}, NETWORK | {"stateDir": str(tmp_path)} | fields, "1.1.0"
    )


def failed(run: Callable[[Call], object], asked: Call) -> CniError:
    with pytest.raises(CniError) as raised:
        run(asked)
    return raised.value


@pytest.mark.parametrize(
    ("refusal", "code", "word"),
    [
        (Refusal(400, "x is no path", "netns"), 4, "CNI_NETNS"),
        (Refusal(400, "x is no interface", "interface"), 4, "CNI_IFNAME"),
        (Refusal(400, "a label", "labels"), 7, "a label"),
        (Refusal(409, "taken", "interface"), 101, "taken"),
        (Refusal(503, "the kernel refused", ""), 11, "refused"),
        (Refusal(507, "pool is exhausted", ""), 102, "exhausted"),
        (Refusal(500, "failed", ""), 100, "failed"),
    ],
)
def test_refusals_have_the_codes_of_the_specification(
    speak: Speak, tmp_path: Path, refusal: Refusal, code: int, word: str
) -> None:
    speak(refusal)
    error = failed(operation.add, call("ADD", tmp_path))
    assert (error.code, word in error.msg) == (code, True)


def test_an_add_that_nobody_heard_leaves_no_trace(speak: Speak, tmp_path: Path) -> None:
    agent = speak(AWAY)
    assert failed(operation.add, call("ADD", tmp_path)).code == 11
    assert agent.asked == ["POST /v1/endpoints"]
    assert list(tmp_path.iterdir()) == []


def test_an_add_that_fails_gives_the_address_back(
    speak: Speak, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def delegate(call: Call, command: str) -> dict[str, Any]:
        asked.append(command)
        if command == "DEL":
            raise CniError(5, "disk full")
        return {"ips": [{"address": "10.0.0.1/24"}]}

    monkeypatch.setattr(operation.ipam, "delegate", delegate)
    speak(Refusal(409, "address 10.0.0.1 is in use", "addresses"))
    error = failed(operation.add, call("ADD", tmp_path))
    assert (error.code, error.msg, error.details) == (101, "address 10.0.0.1 is in use", "disk full")
    assert asked == ["ADD", "DEL"]


@pytest.mark.parametrize(
    ("answer", "code"), [(STATE, 101), (AWAY, 11), (Refusal(503, "the kernel refused", ""), 11)]
)
def test_no_address_is_asked_for_where_the_agent_would_refuse(
    speak: Speak, tmp_path: Path, answer: object, code: int
) -> None:
    agent = speak(answer)
    asked = call("ADD", tmp_path, ipam={"type": "is-not-run"})
    assert failed(operation.add, asked).code == code
    assert agent.asked == ["GET /v1/attachments/c1/eth0"]


def test_an_add_that_may_have_been_done_is_taken_back(speak: Speak, tmp_path: Path) -> None:
    speak(DIED, Refusal(503, "the kernel refused", ""))
    refused = failed(operation.add, call("ADD", tmp_path))
    assert (refused.code, refused.details) == (11, "died; then: the kernel refused")
    agent = speak(DIED, AWAY, AWAY)
    assert failed(operation.add, call("ADD", tmp_path)).code == 11
    assert agent.asked[1:] == ["DELETE /v1/attachments/c1/eth0"] * 2
    assert departure.waiting(tmp_path) == (("c1", "eth0"),)


@pytest.mark.parametrize("answer", [None, ABSENT])
def test_a_del_that_is_answered_leaves_no_trace(speak: Speak, tmp_path: Path, answer: object) -> None:
    speak(answer)
    operation.delete(call("DEL", tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("second", [None, ABSENT])
def test_an_agent_that_starts_meanwhile_is_asked_again(speak: Speak, tmp_path: Path, second: object) -> None:
    speak(AWAY, second)
    operation.delete(call("DEL", tmp_path))
    assert departure.waiting(tmp_path) == ()


def test_a_del_that_nobody_heard_waits(speak: Speak, tmp_path: Path) -> None:
    speak(AWAY, DIED)
    operation.delete(call("DEL", tmp_path))
    assert departure.waiting(tmp_path) == (("c1", "eth0"),)


def test_a_del_that_a_silent_agent_hears_is_to_be_tried_again(speak: Speak, tmp_path: Path) -> None:
    agent = speak(AgentAway("not within a minute", asked=True, silent=True))
    error = failed(operation.delete, call("DEL", tmp_path))
    assert (error.code, error.details) == (11, "not within a minute")
    assert len(agent.asked) == 1


def test_a_del_that_cannot_be_written_down_is_to_be_tried_again(speak: Speak, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    speak(AWAY)
    error = failed(operation.delete, call("DEL", tmp_path / "file"))
    assert (error.code, "cannot be written" in error.msg) == (11, True)


def test_a_del_that_the_kernel_refuses_is_to_be_tried_again(speak: Speak, tmp_path: Path) -> None:
    speak(Refusal(503, "the kernel refused", ""))
    assert failed(operation.delete, call("DEL", tmp_path)).code == 11


def test_check_tells_the_first_difference_and_the_others_in_details(speak: Speak, tmp_path: Path) -> None:
    asked = call("CHECK", tmp_path, prevResult=ADDED)
    speak(STATE)
    operation.check(asked)
    speak(STATE | {"problems": ["eth0 is down", "policy is not in force"]})
    error = failed(operation.check, asked)
    assert (error.code, error.msg, error.details) == (103, "eth0 is down", "policy is not in force")
    speak(ABSENT)
    assert failed(operation.check, asked).code == 3


@pytest.mark.parametrize(
    "previous", [None, [], {"interfaces": ["x"]}, {"interfaces": [], "ips": 5}, {"ips": 5}]
)
def test_a_result_that_is_none_is_refused(speak: Speak, tmp_path: Path, previous: object) -> None:
    speak(STATE)
    error = failed(operation.check, call("CHECK", tmp_path, prevResult=previous))
    assert error.code in (7, 103)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"reconciliation": {"state": "retrying", "error": "no memory"}}, 51),
        ({"pools": [*FINE["pools"], IPV6_FULL]}, 50),
    ],
)
def test_status_knows_when_an_add_would_fail(
    speak: Speak, tmp_path: Path, change: dict[str, Any], code: int
) -> None:
    speak(FINE)
    operation.status(call("STATUS", tmp_path))
    speak(FINE | change)
    assert failed(operation.status, call("STATUS", tmp_path)).code == code
    for answer in (AWAY, Refusal(500, "failed", "")):
        speak(answer)
        assert failed(operation.status, call("STATUS", tmp_path)).code == 50


def test_gc_goes_on_after_what_cannot_be_removed(speak: Speak, tmp_path: Path) -> None:
    listed = [
        ENDPOINT | {"attachment": {"container": name, "network": "net"}} for name in ("c1", "c2", "c3", "c4")
    ]
    known = [{"containerID": "c2", "ifname": "eth0"}, {"containerID": "c1", "ifname": "net1"}]
    agent = speak(listed, Refusal(503, "no memory", ""), ABSENT, None)
    error = failed(operation.collect, call("GC", tmp_path, **{"cni.dev/valid-attachments": known}))
    assert (error.code, error.details) == (11, "c1 eth0: no memory")
    assert agent.asked == [
        "GET /v1/attachments?network=net",
        *(f"DELETE /v1/attachments/{name}/eth0" for name in ("c1", "c3", "c4")),
    ]


def test_an_add_that_an_agent_died_of_is_taken_back_and_not_done_again(speak: Speak, tmp_path: Path) -> None:
    for answers, left in (((None,), ()), ((AWAY, AWAY), (("c1", "eth0"),))):
        agent = speak(*answers)
        with pytest.raises(CniError, match="the agent is away") as raised:
            operation.LOST["ADD"](call("ADD", tmp_path))
        assert raised.value.code == 11
        assert {asked.split()[0] for asked in agent.asked} == {"DELETE"}
        assert departure.waiting(tmp_path) == left
