"""What a listener lets through."""

from __future__ import annotations

import dns.message
import dns.rcode
import pytest

from kinety.model.layer7 import NamePattern
from kinety.proxy.dns.question import ResponseCode, Why
from kinety.proxy.dns.rules import Rules

RULES = Rules(map(NamePattern, ("example.org", "*.example.com", "**.deep.example", "xn--9ca.example")))


def query(name: str, kind: str = "A") -> bytes:
    return dns.message.make_query(name, kind).to_wire()


@pytest.mark.parametrize(
    "name",
    [
        "example.org",
        "EXAMPLE.org",
        "www.eXample.com",
        "a.b.deep.example",
        "xn--9ca.example",
        r"a\.b.example.com",
    ],
)
def test_names_of_a_pattern_pass_in_any_case(name: str) -> None:
    for _ in range(2):  # judged, and remembered
        ruling = RULES.ruling(query(name))
        assert ruling.why is None
        assert ruling.question is not None


@pytest.mark.parametrize(
    "name",
    [
        "example.com",
        "a.b.example.com",
        "deep.example",
        "example.org.evil.net",
        "wwwexample.org",
        r"www\.example.com",
        r"example\.org",
        r"example.org\000",
        ".",
        "*.example.org",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    for _ in range(2):
        ruling = RULES.ruling(query(name))
        assert ruling.why == Why.NAME
        assert ruling.answer is not None
        answer = dns.message.from_wire(b"ab" + ruling.answer)
        assert answer.rcode() == dns.rcode.REFUSED


def test_without_patterns_nothing_passes() -> None:
    assert Rules(()).ruling(query("example.org")).why == Why.NAME


def test_every_name_is_also_the_root() -> None:
    every = Rules((NamePattern("*"),))
    assert every.ruling(query(".", "NS")).why is None
    assert every.ruling(query(r"odd\.label.\255", "TXT")).why is None
    assert every.ruling(query("example.org", "AXFR")).why == Why.TYPE


def test_questions_that_differ_in_their_id_are_judged_once_and_others_are_not_mixed_up() -> None:
    first, second = RULES.ruling(query("example.org")), RULES.ruling(query("example.org"))
    assert first is second
    assert RULES.ruling(query("example.org", "AAAA")) is not first


def test_an_answer_sent_as_a_question_is_dropped() -> None:
    answer = dns.message.make_response(dns.message.make_query("example.org", "A")).to_wire()
    ruling = RULES.ruling(answer)
    assert (ruling.question, ruling.answer) == (None, None)
    assert ruling.why == Why.MALFORMED


def test_names_of_no_pattern_may_be_said_not_to_exist_and_other_denials_stay_refusals() -> None:
    rules = Rules((NamePattern("*.example.com"),), ResponseCode.NAME_ERROR)
    for text, kind, code in (
        ("example.org", "A", dns.rcode.NXDOMAIN),
        ("www.example.com", "AXFR", dns.rcode.REFUSED),
    ):
        asked = query(text, kind)
        answer = rules.ruling(asked).answer
        assert answer is not None
        assert dns.message.from_wire(asked[:2] + answer).rcode() == code
