"""When answers are released: known, told, confirmed, and with nobody to tell."""

from __future__ import annotations

from ipaddress import ip_address

import dns.edns
import dns.message
import dns.rcode
import dns.rrset
import pytest

from kinety.model.address import IPAddress
from kinety.model.layer7 import NamePattern
from kinety.model.name import Answer
from kinety.proxy.dns.gate import PATIENCE, Gate
from kinety.proxy.dns.journal import Mapped
from kinety.proxy.dns.question import Question, Why
from kinety.proxy.dns.rebinding import Protection

ADDRESS, CLIENT, OTHER = map(ip_address, ("192.0.2.1", "10.0.0.1", "fd00::2"))
NAME = "www.example.com"


class Desk:
    """A gate, what it told the agent, and what it released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("kinety.proxy.dns.gate.time.monotonic", lambda: self.now)
        self.told: list[tuple[int, Answer]] = []
        self.released: list[tuple[dns.rcode.Rcode, Why | None]] = []
        self.remarks: list[str | None] = []
        self.noted: dict[Mapped, float | None] = {}
        self.gate = Gate(self._tell, self.noted.__setitem__)
        self.gate.watch(frozenset((NamePattern("*.example.com"),)))
        self.gate.attend(True)

    def _tell(self, number: int, answer: Answer) -> bool:
        self.told.append((number, answer))
        return True

    def answer(self, *records: str, name: str = NAME, kind: str = "A", client: IPAddress = CLIENT) -> None:
        """An answer for a client comes from a server."""
        query = dns.message.make_query(name, kind, use_edns=True)
        made = dns.message.make_response(query)
        for text in records:
            owner, lifetime, type_, data = text.split(maxsplit=3)
            made.answer.append(dns.rrset.from_text(owner, int(lifetime), "IN", type_, data))
        self.gate.admit(str(client), Question.parse(query.to_wire()), made.to_wire(), self._release)

    def _release(self, answer: bytes, why: Why | None) -> None:
        read = dns.message.from_wire(b"ab" + answer)
        self.released.append((read.rcode(), why))
        self.remarks += [each.text for each in read.options if isinstance(each, dns.edns.EDEOption)]

    @property
    def codes(self) -> list[dns.rcode.Rcode]:
        return [code for code, _ in self.released]

    def confirm(self) -> None:
        self.gate.confirm(self.told[-1][0])


OK, FAILED = dns.rcode.NOERROR, dns.rcode.SERVFAIL
RECORD = f"{NAME}. 60 A 192.0.2.1"


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


def test_what_nobody_watches_passes_at_once(desk: Desk) -> None:
    desk.answer("www.example.org. 60 A 192.0.2.1", name="www.example.org")
    desk.answer()
    desk.answer(f"{NAME}. 60 TXT text", kind="TXT")
    assert desk.codes == [OK] * 3
    assert not desk.told


def test_a_watched_name_waits_for_the_agent_and_then_is_known(desk: Desk) -> None:
    desk.answer(RECORD)
    assert (desk.told, desk.codes) == ([(1, Answer(NAME, ((ADDRESS, 60),), client=CLIENT))], [])
    desk.confirm()
    assert desk.codes == [OK]
    desk.answer(RECORD)
    assert desk.codes == [OK] * 2
    assert len(desk.told) == 1


def test_equal_answers_are_told_once_and_released_together(desk: Desk) -> None:
    desk.answer(RECORD)
    desk.answer(RECORD.replace("60", "59"))
    desk.answer(f"{NAME}. 60 A 192.0.2.2")
    assert len(desk.told) == 2
    desk.gate.confirm(1)
    assert desk.codes == [OK] * 2


def test_a_name_that_an_alias_leads_to_is_watched_as_well(desk: Desk) -> None:
    desk.answer("a.org. 60 CNAME www.example.com.", RECORD, name="a.org")
    [(_, told)] = desk.told
    assert told == Answer("a.org", ((ADDRESS, 60),), (NAME,), CLIENT)
    desk.confirm()
    desk.answer(RECORD)
    assert desk.codes == [OK] * 2
    assert len(desk.told) == 1


def test_a_mapping_that_ends_soon_is_not_relied_on(desk: Desk) -> None:
    desk.answer(RECORD)
    desk.confirm()
    desk.now += 59.5
    desk.answer(RECORD)
    assert (desk.codes, len(desk.told)) == ([OK], 2)


def test_a_mapping_in_use_is_told_again_while_it_passes(desk: Desk) -> None:
    desk.answer(RECORD)
    desk.confirm()
    desk.now += 30
    desk.answer(RECORD)
    assert (desk.codes, len(desk.told)) == ([OK] * 2, 2)
    desk.confirm()
    desk.now += 55
    desk.answer(RECORD)
    assert desk.codes == [OK] * 3


def test_the_least_lifetime_is_the_agents(desk: Desk) -> None:
    desk.gate.protect(Protection(), 300)
    desk.answer(f"{NAME}. 0 A 192.0.2.1")
    desk.confirm()
    desk.now += 200
    desk.answer(f"{NAME}. 0 A 192.0.2.1")
    assert desk.codes == [OK] * 2


def test_without_a_lifetime_the_agent_is_asked_each_time(desk: Desk) -> None:
    for count in range(1, 4):
        desk.answer(f"{NAME}. 0 A 192.0.2.1")
        assert len(desk.told) == count
        desk.confirm()


def test_who_waits_too_long_is_told_that_it_failed(desk: Desk) -> None:
    desk.answer(RECORD)
    desk.now += PATIENCE
    desk.gate.expire(desk.now)
    assert desk.codes == [FAILED]
    desk.confirm()  # too late for the client, and nothing is taken for known
    assert not desk.gate.known


def test_an_answer_that_the_agent_cannot_take_fails(desk: Desk) -> None:
    desk.answer(RECORD)
    desk.gate.fail(desk.told[-1][0])
    assert (desk.codes, dict(desk.gate.known)) == ([FAILED], {})


def test_while_the_agent_is_away_what_was_known_passes_and_the_rest_waits(desk: Desk) -> None:
    desk.answer(RECORD)
    desk.confirm()
    desk.gate.attend(False)
    desk.now += 500
    desk.answer(RECORD)
    assert desk.codes == [OK] * 2
    desk.answer(f"{NAME}. 60 A 192.0.2.2")
    assert desk.codes == [OK] * 2
    desk.now += 1
    desk.gate.attend(True)
    told = [answer.addresses[0][0] for _, answer in desk.told[-2:]]
    assert told == [ADDRESS, ip_address("192.0.2.2")]
    desk.confirm()
    assert desk.codes == [OK] * 3


def test_what_is_forgotten_or_was_never_there_is_asked_for(desk: Desk) -> None:
    desk.answer(RECORD)
    desk.confirm()
    desk.gate.forget([(NAME, ADDRESS)])
    desk.answer(RECORD)
    assert len(desk.told) == 2
    desk.confirm()
    desk.gate.restore({(NAME, ADDRESS): desk.now + 100})
    desk.answer(RECORD)
    assert len(desk.told) == 2
    desk.gate.restore({})
    desk.answer(RECORD)
    assert len(desk.told) == 3


def test_a_protected_address_is_refused_wherever_it_is(desk: Desk) -> None:
    desk.gate.protect(Protection.of([], exempt=[NamePattern("ok.example.com")]), 0)
    desk.answer(f"{NAME}. 60 A 10.1.2.3")
    desk.answer(f"{NAME}. 60 HTTPS 1 . ipv6hint=::1", kind="HTTPS")
    assert desk.released == [(dns.rcode.REFUSED, Why.REBINDING)] * 2
    desk.answer("ok.example.com. 60 TXT text", name="ok.example.com", kind="TXT")
    assert desk.released[2:] == [(OK, None)]
    assert not desk.told


def test_what_cannot_be_read_is_a_failure_and_what_was_cut_short_is_asked_by_tcp(desk: Desk) -> None:
    query = dns.message.make_query(NAME, "A").to_wire()
    question = Question.parse(query)
    released: list[bytes] = []
    for flags in (b"\x81\x80", b"\x83\x80"):
        message = query[:2] + flags + b"\0\1\0\7" + query[8:]
        desk.gate.admit("10.0.0.1", question, message, lambda answer, _: released.append(answer))
    codes = [dns.message.from_wire(b"ab" + each) for each in released]
    assert [each.rcode() for each in codes] == [FAILED, OK]
    assert [bool(each.flags & dns.flags.TC) for each in codes] == [False, True]
    assert not codes[1].answer


def test_of_what_waits_a_client_has_as_much_as_is_left_for_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinety.proxy.dns.gate._MOST_HELD", 8)
    for last in range(6):
        desk.answer(f"{NAME}. 60 A 192.0.2.{last}")
    assert (len(desk.told), desk.codes) == (4, [FAILED] * 2)
    assert desk.remarks == ["too many answers for this client are being learnt"] * 2
    for last in range(10, 14):
        desk.answer(f"{NAME}. 60 A 192.0.2.{last}", client=OTHER)
    assert (len(desk.told), desk.codes) == (6, [FAILED] * 4)
    desk.gate.confirm(1)
    desk.answer(f"{NAME}. 60 A 192.0.2.9")
    assert (len(desk.told), len(desk.codes)) == (6, 6), "there are three, and three more could wait"
    desk.gate.confirm(2)
    desk.answer(f"{NAME}. 60 A 192.0.2.9")
    assert len(desk.told) == 7


def test_what_was_told_before_its_mapping_goes_is_confirmed_only_by_what_was_told_after(desk: Desk) -> None:
    """The first confirmation is of a kernel that had the mapping until now."""
    desk.answer(RECORD)
    desk.answer("mail.example.com. 60 A 192.0.2.9", name="mail.example.com")
    [(first, told), (other, _)] = desk.told
    desk.gate.forget([(NAME, ADDRESS)])
    assert desk.told[2:] == [(3, told)]
    desk.gate.confirm(first)
    assert (desk.codes, dict(desk.gate.known)) == ([], {})
    desk.gate.confirm(other)
    assert desk.codes == [OK]
    desk.confirm()
    assert desk.codes == [OK] * 2
    assert (NAME, ADDRESS) in desk.gate.known


def test_what_is_told_again_waits_no_longer_for_it(desk: Desk) -> None:
    desk.answer(RECORD)
    desk.now += PATIENCE / 2
    desk.answer("mail.example.com. 60 A 192.0.2.9", name="mail.example.com")
    desk.gate.forget([(NAME, ADDRESS)])
    desk.now += PATIENCE / 2
    desk.gate.expire(desk.now)
    assert desk.codes == [FAILED]


def test_what_comes_and_goes_is_noted(desk: Desk) -> None:
    desk.answer(RECORD)
    assert not desk.noted
    desk.confirm()
    assert desk.noted == {(NAME, ADDRESS): 1060.0}
    desk.gate.forget([(NAME, ADDRESS), ("other.example.com", ADDRESS)])
    assert desk.noted == {(NAME, ADDRESS): None}


def test_what_has_ended_stays_until_the_agent_takes_it_out_of_the_kernel(desk: Desk) -> None:
    desk.answer(RECORD)
    desk.confirm()
    desk.now += 1000
    desk.gate.attend(False)
    desk.answer(RECORD)
    assert desk.codes == [OK] * 2
    desk.gate.forget([(NAME, ADDRESS)])
    desk.answer(RECORD)
    assert desk.codes == [OK] * 2
