"""What answers teach: the addresses that the question leads to, and none besides."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import dns.message
import dns.rrset
import pytest

from kinety.proxy.dns.answer import Reader, Reading, read
from kinety.proxy.dns.question import Malformed, Question

NAME = "www.example.com"


def asked(name: str = NAME, kind: str = "A") -> bytes:
    return dns.message.make_query(name, kind).to_wire()


def answered(query: bytes, *records: str, additional: tuple[str, ...] = ()) -> bytes:
    made = dns.message.make_response(dns.message.from_wire(query))
    for section, texts in ((made.answer, records), (made.additional, additional)):
        for text in texts:
            owner, lifetime, kind, data = text.split(maxsplit=3)
            section.append(dns.rrset.from_text(owner, int(lifetime), "IN", kind, data))
    return made.to_wire()


def learnt(query: bytes, *records: str, **more: tuple[str, ...]) -> tuple[Reading, list[tuple[str, int]]]:
    message = answered(query, *records, **more)
    reading = read(Question.parse(query), message)
    return reading, [(str(address), seconds) for address, seconds in reading.addresses(message)]


def test_addresses_of_the_asked_name_count() -> None:
    reading, found = learnt(
        asked("WWW.example.com"), "www.EXAMPLE.com. 60 A 192.0.2.1", "www.example.com. 60 A 192.0.2.2"
    )
    assert reading.name == NAME
    assert found == [("192.0.2.1", 60), ("192.0.2.2", 60)]
    assert reading.chain == ()


def test_aliases_are_followed_in_any_order_and_the_shortest_lifetime_counts() -> None:
    reading, found = learnt(
        asked(kind="AAAA"),
        "c.example.net. 300 AAAA 2001:db8::1",
        "b.example.net. 20 CNAME c.example.net.",
        "www.example.com. 600 CNAME b.example.net.",
    )
    assert reading.chain == ("b.example.net", "c.example.net")
    assert found == [("2001:db8::1", 20)]


@pytest.mark.parametrize(
    "records",
    [
        ("other.example.com. 60 A 192.0.2.1",),
        ("www.example.com. 60 CNAME a.example.com.", "b.example.com. 60 A 192.0.2.1"),
        ("a.example.com. 60 CNAME www.example.com.", "a.example.com. 60 A 192.0.2.1"),
        ("www.example.com. 60 TXT 192.0.2.1",),
    ],
)
def test_other_records_teach_nothing(records: tuple[str, ...]) -> None:
    _, found = learnt(asked(), *records)
    assert not found


def test_records_beside_the_answer_teach_nothing_but_are_seen() -> None:
    reading, found = learnt(asked(kind="MX"), additional=("www.example.com. 60 A 127.0.0.1",))
    assert not found
    assert reading.every == {ip_address("127.0.0.1")}


def test_aliases_in_a_circle_end() -> None:
    reading, found = learnt(
        asked(), "www.example.com. 60 CNAME b.example.com.", "b.example.com. 60 CNAME www.example.com."
    )
    assert (reading.chain, found) == (("b.example.com",), [])


def test_a_chain_too_long_is_malformed() -> None:
    records = [f"{number}.x. 60 CNAME {number + 1}.x." for number in range(60)]
    with pytest.raises(Malformed, match="aliases"):
        learnt(asked("0.x"), *records)


def test_addresses_that_a_service_binding_suggests_count_for_its_target_too() -> None:
    reading, found = learnt(
        asked(kind="HTTPS"),
        "www.example.com. 60 HTTPS 1 cdn.example.net. alpn=h2 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1",
        "www.example.com. 30 HTTPS 2 . ipv4hint=192.0.2.2",
    )
    assert reading.chain == ("cdn.example.net",)
    assert found == [("192.0.2.1", 60), ("2001:db8::1", 60), ("192.0.2.2", 60)] or found == [
        ("192.0.2.1", 60),
        ("2001:db8::1", 60),
        ("192.0.2.2", 30),
    ]


def test_a_lifetime_that_looks_negative_is_none() -> None:
    query = asked()
    message = bytearray(answered(query, "www.example.com. 60 A 192.0.2.1"))
    message[-10:-6] = b"\xff\xff\xff\xff"
    reading = read(Question.parse(query), bytes(message))
    assert reading.addresses(bytes(message)) == ((ip_address("192.0.2.1"), 0),)


def test_an_answer_that_differs_in_id_and_lifetimes_is_not_read_again() -> None:
    reader, query = Reader(), asked()
    question = Question.parse(query)
    first = answered(query, "www.example.com. 60 A 192.0.2.1")
    second = answered(asked(), "www.example.com. 59 A 192.0.2.1")
    reading = reader.read(question, first)
    assert reader.read(question, second) is reading
    assert reading.addresses(second)[0][1] == 59
    other = answered(query, "www.example.com. 60 A 192.0.2.2")
    assert reader.read(question, other) is not reading
    assert reader.read(question, first) is reading


RECORD = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4"


def raw(query: bytes, answers: int, records: bytes, additional: int = 0) -> bytes:
    return query[:2] + struct.pack("!5H", 0x8180, 1, answers, 0, additional) + query[12:] + records


@pytest.mark.parametrize(
    ("answers", "records"),
    [
        (1, b""),
        (1, RECORD + b"abc"),
        (2, RECORD + b"abcd"),
        (1, RECORD + b"abcd!"),
        (0, RECORD + b"abcd"),
        (1, b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\3abc"),
        (1, b"\xc0\x0c\0\x1c\0\1\0\0\0\x3c\0\4abcd"),
        (1, b"\xc0\x21\0\1\0\1\0\0\0\x3c\0\4abcd"),
        (1, b"\xc0\xff\0\1\0\1\0\0\0\x3c\0\4abcd"),
        (1, b"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\2\xc0\x2d"),
        (1, b"\xc0\x0c\0\x41\0\1\0\0\0\x3c\0\x05\0\1\0\0\4"),
        (1, b"\x40a" + RECORD[2:] + b"abcd"),
        (513, (RECORD + b"abcd") * 513),
    ],
)
def test_what_cannot_be_read_is_malformed(answers: int, records: bytes) -> None:
    query = dns.message.make_query(NAME, "A", use_edns=False).to_wire()
    with pytest.raises(Malformed, match=r"\w+ \w+"):
        read(Question.parse(query), raw(query, answers, records))


def test_addresses_of_another_class_are_none() -> None:
    query = dns.message.make_query(NAME, "A", use_edns=False).to_wire()
    record = b"\xc0\x0c\0\1\0\3\0\0\0\x3c\0\4abcd"
    assert not read(Question.parse(query), raw(query, 1, record)).found
