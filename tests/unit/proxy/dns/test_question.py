"""Questions as clients may write them, and as nobody may."""

from __future__ import annotations

import struct

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.tsig
import pytest

from kinety.proxy.dns.question import Edns, Malformed, Question, Remark, ResponseCode, Why, unread

A, AAAA, HTTPS = 1, 28, 65


def wire(name: bytes, kind: int = A, class_: int = 1) -> bytes:
    return name + struct.pack("!HH", kind, class_)


def message(
    *questions: bytes, flags: int = 0x0100, counts: tuple[int, int, int] = (0, 0, 0), rest: bytes = b""
) -> bytes:
    return struct.pack("!6H", 0x1234, flags, len(questions), *counts) + b"".join(questions) + rest


WWW = b"\x03wWw\x07eXample\x03com\0"
OPT = b"\0" + struct.pack("!HHIH", 41, 4096, 0x8000, 0)


def test_a_question_is_read_and_kept_as_it_was_written() -> None:
    found = Question.parse(message(wire(WWW, HTTPS)))
    assert (found.name, found.kind, found.edns) == ("www.example.com", HTTPS, None)
    assert found.wire == wire(WWW, HTTPS)
    assert found.refusal is None


def test_what_edns_says_is_read() -> None:
    assert Question.parse(message(wire(WWW), counts=(0, 0, 1), rest=OPT)).edns == Edns(4096, True)


def test_a_signed_question_of_dnspythons_is_read() -> None:
    query = dns.message.make_query("example.com", "A", use_edns=0, payload=1400)
    query.use_tsig(dns.tsig.Key("key.", "c2VjcmV0"))
    assert Question.parse(query.to_wire()).edns == Edns(1400, False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"\0", "."),
        (b"\x0bwww.example\x03com\0", r"www\046example.com"),
        (b"\x03a\\b\x03com\0", r"a\092b.com"),
        (b"\x03a\0b\x03com\0", r"a\000b.com"),
        (b"\x03a b\x03com\0", r"a\032b.com"),
        (b"\x02\xc3\xa9\x03com\0", r"\195\169.com"),
        (b"\x0axn--9ca\x2d\x2d\x2d\x03com\0", "xn--9ca---.com"),
        (b"\x01*\x03com\0", "*.com"),
        (b"\x3f" + b"a" * 63 + b"\0", "a" * 63),
    ],
)
def test_names_become_text_in_which_no_label_poses_as_two(name: bytes, text: str) -> None:
    assert Question.parse(message(wire(name))).name == text


@pytest.mark.parametrize(
    ("what", "query", "code"),
    [
        ("no question", message(), ResponseCode.FORMAT_ERROR),
        ("two questions", message(wire(WWW), wire(WWW)), ResponseCode.FORMAT_ERROR),
        ("an update", message(wire(WWW), flags=0x2800), ResponseCode.NOT_IMPLEMENTED),
        ("a notification", message(wire(WWW), flags=0x2000), ResponseCode.NOT_IMPLEMENTED),
        ("an inverse query", message(wire(WWW), flags=0x0800), ResponseCode.NOT_IMPLEMENTED),
        ("an answer in the question", message(wire(WWW), counts=(1, 0, 0)), ResponseCode.FORMAT_ERROR),
        ("an authority", message(wire(WWW), counts=(0, 1, 0)), ResponseCode.FORMAT_ERROR),
        ("truncated", message(wire(WWW), flags=0x0300), ResponseCode.FORMAT_ERROR),
        ("junk at the end", message(wire(WWW), rest=b"x"), ResponseCode.FORMAT_ERROR),
        ("an end too early", message(wire(WWW))[:-1], ResponseCode.FORMAT_ERROR),
        ("a name that points to itself", message(b"\xc0\x0c\0\1\0\1"), ResponseCode.FORMAT_ERROR),
        ("a name that points to the header", message(b"\xc0\x00\0\1\0\1"), ResponseCode.FORMAT_ERROR),
        ("a name that points ahead", message(b"\xc0\x20\0\1\0\1"), ResponseCode.FORMAT_ERROR),
        ("a label of another kind", message(wire(b"\x41a\0")), ResponseCode.FORMAT_ERROR),
        ("an endless name", message(wire(b"\x01a" * 128 + b"\0")), ResponseCode.FORMAT_ERROR),
        ("no end of the name", message(b"\x03www"), ResponseCode.FORMAT_ERROR),
        ("EDNS twice", message(wire(WWW), counts=(0, 0, 2), rest=OPT * 2), ResponseCode.FORMAT_ERROR),
        ("EDNS missing", message(wire(WWW), counts=(0, 0, 1)), ResponseCode.FORMAT_ERROR),
        (
            "EDNS of another name",
            message(wire(WWW), counts=(0, 0, 1), rest=b"\1a" + OPT),
            ResponseCode.FORMAT_ERROR,
        ),
        (
            "an address in the question",
            message(wire(WWW), counts=(0, 0, 1), rest=b"\0\0\1\0\1\0\0\0\0\0\4abcd"),
            ResponseCode.FORMAT_ERROR,
        ),
        ("very many records", message(wire(WWW), counts=(0, 0, 65535)), ResponseCode.FORMAT_ERROR),
    ],
)
def test_what_is_no_plain_question_is_answered_by_a_code(what: str, query: bytes, code: ResponseCode) -> None:
    with pytest.raises(Malformed) as caught:
        Question.parse(query)
    assert caught.value.code == code, what
    answer = dns.message.from_wire(query[:2] + unread(query, code), ignore_trailing=True)
    assert answer.flags & dns.flags.QR
    assert answer.rcode() == code
    assert not answer.sections[0]


@pytest.mark.parametrize("query", [b"", b"\0" * 11, message(wire(WWW), flags=0x8180)])
def test_what_is_no_question_at_all_gets_no_answer(query: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        Question.parse(query)
    assert caught.value.code is None


@pytest.mark.parametrize(
    ("kind", "class_", "why"),
    [
        (252, 1, Why.TYPE),
        (251, 1, Why.TYPE),
        (253, 1, Why.TYPE),
        (249, 1, Why.TYPE),
        (41, 1, Why.TYPE),
        (0, 1, Why.TYPE),
        (16, 3, Why.CLASS),
        (1, 255, Why.CLASS),
        (255, 1, None),
        (65280, 1, None),
    ],
)
def test_some_questions_are_refused_whatever_their_name(kind: int, class_: int, why: Why | None) -> None:
    assert Question.parse(message(wire(WWW, kind, class_))).refusal == why


def test_a_transfer_with_its_serial_number_is_refused_as_one() -> None:
    serial = WWW + b"\0\6\0\1\0\0\0\0\0\0"
    assert Question.parse(message(wire(WWW, 251), counts=(0, 1, 0), rest=serial)).refusal == Why.TYPE


@pytest.mark.parametrize(
    ("code", "remark"),
    [
        (ResponseCode.REFUSED, Remark.DENIED),
        (ResponseCode.SERVER_FAILURE, Remark.UNREADABLE),
        (ResponseCode.FORMAT_ERROR, None),
    ],
)
@pytest.mark.parametrize("edns", [False, True])
def test_an_answer_of_our_own_repeats_the_question(
    code: ResponseCode, remark: Remark | None, edns: bool
) -> None:
    query = message(wire(WWW), flags=0x0110, counts=(0, 0, int(edns)), rest=OPT if edns else b"")
    answer = dns.message.from_wire(query[:2] + Question.parse(query).answered(code, remark))
    assert answer.id == 0x1234
    assert answer.question[0].name.to_text() == "wWw.eXample.com."
    assert answer.rcode() == code
    assert answer.flags & (dns.flags.QR | dns.flags.RD | dns.flags.CD) == answer.flags & 0xFFF0
    assert (answer.edns == 0) is edns
    if edns:
        assert answer.ednsflags & dns.flags.DO
        told = [(each.code, each.text) for each in answer.options if isinstance(each, dns.edns.EDEOption)]
        assert told == ([] if remark is None else [remark.value])


def test_an_answer_that_makes_the_client_come_by_tcp() -> None:
    query = message(wire(WWW))
    answer = dns.message.from_wire(query[:2] + Question.parse(query).truncated())
    assert answer.flags & dns.flags.TC
    assert answer.rcode() == dns.rcode.NOERROR
    assert not answer.answer
