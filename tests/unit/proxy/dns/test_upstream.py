"""Which datagrams of a server answer a question."""

from __future__ import annotations

import dns.message
import pytest

from kinety.proxy.dns.question import Question
from kinety.proxy.dns.upstream import answers

QUERY = dns.message.make_query("wWw.example.com", "HTTPS", use_edns=False, id=0x1234).to_wire()
QUESTION = Question.parse(QUERY)
ANSWER = QUERY[:2] + b"\x81\x80" + QUERY[4:]


@pytest.mark.parametrize(
    ("what", "message", "right"),
    [
        ("the question repeated", ANSWER, True),
        (
            "its case folded",
            ANSWER[:12] + ANSWER[12:].lower().replace(b"a", b"A", 1)[:-4] + ANSWER[-4:],
            True,
        ),
        ("a failure without the question", ANSWER[:2] + b"\x81\x82" + bytes(8), True),
        ("a success without the question", ANSWER[:2] + b"\x81\x80" + bytes(8), False),
        ("a failure that brings something", ANSWER[:2] + b"\x81\x82" + bytes(8) + b"x", False),
        ("a question", QUERY, False),
        ("another opcode", ANSWER[:2] + b"\xa9\x80" + ANSWER[4:], False),
        ("another name", ANSWER.replace(b"example", b"exemple"), False),
        ("another type, which is the same letter", ANSWER[:-4] + b"\0\x61\0\1", False),
        ("another class", ANSWER[:-1] + b"\3", False),
        ("two questions", ANSWER[:5] + b"\2" + ANSWER[6:] + ANSWER[12:], False),
        ("cut short", ANSWER[:-1], False),
        ("next to nothing", ANSWER[:11], False),
    ],
)
def test_an_answer_repeats_its_question(what: str, message: bytes, right: bool) -> None:
    assert answers(message, QUESTION) is right, what
