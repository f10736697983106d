"""Netlink's format, both ways, and messages that lie about their length."""

from __future__ import annotations

import errno
import struct

import pytest

from kinety.kernel.netlink_message import (
    DONE,
    ERROR,
    Message,
    attribute,
    attributes,
    encode,
    encode_dump,
    failure,
    number,
    split,
    text,
)

HEADER = 16
CAPPED, EXTENDED = 0x100, 0x200
EXTENDED_MESSAGE = 1


def test_a_request_wants_an_acknowledgement_and_tells_its_length() -> None:
    message = encode(16, 0x400, 7, b"fixed part..", number(1, 5), text(3, "kinety0"))
    length, kind, flags, sequence, port = struct.unpack_from("=IHHII", message)
    assert (length, kind, flags, sequence, port) == (len(message), 16, 0x400 | 0x1 | 0x4, 7, 0)
    found = attributes(message, HEADER + 12)
    assert found == {1: struct.pack("=I", 5), 3: b"kinety0\0"}


def test_a_dump_wants_a_list() -> None:
    _, kind, flags, *_ = struct.unpack_from("=IHHII", encode_dump(18, bytes(16)))
    assert (kind, flags) == (18, 0x1 | 0x300)


@pytest.mark.parametrize("length", range(9))
def test_attributes_are_padded_and_tell_their_length_without_it(length: int) -> None:
    body = bytes(range(1, length + 1))
    encoded = attribute(9, body) + attribute(10, b"next")
    assert len(encoded) % 4 == 0
    assert struct.unpack_from("=H", encoded)[0] == 4 + length
    assert attributes(encoded, 0) == {9: body, 10: b"next"}


def test_attributes_nest() -> None:
    inner = [text(1, "veth"), attribute(2, number(1, 9))]
    outer = attributes(attribute(18 | 0x8000, *inner), 0)
    assert outer.keys() == {18}, "the flag that says nested is not part of the type"
    assert attributes(attributes(outer[18], 0)[2], 0) == {1: struct.pack("=I", 9)}


def test_one_receive_holds_several_messages() -> None:
    done = struct.pack("=IHHII", HEADER + 4, DONE, 2, 9, 0) + bytes(4)
    odd = struct.pack("=IHHII", HEADER + 3, 16, 0, 9, 0) + b"abc" + b"\0"
    assert list(split(odd + done)) == [Message(16, 0, 9, b"abc"), Message(DONE, 2, 9, bytes(4))]


@pytest.mark.parametrize("length", [0, 1, HEADER - 1])
def test_a_length_shorter_than_its_header_does_not_hang_the_reader(length: int) -> None:
    lying = struct.pack("=IHHII", length, 16, 0, 1, 0)
    assert len(list(split(lying * 3))) == 3
    assert attributes(struct.pack("=HH", 0, 5) * 2, 0) == {5: b""}


def acknowledgement(code: int, flags: int, echoed: bytes, *extended: bytes) -> Message:
    head = struct.pack("=i", -code) + struct.pack("=IHHII", HEADER + len(echoed), 16, 5, 1, 0)
    padding = bytes(-len(echoed) % 4)
    return Message(ERROR, flags, 1, head + echoed + padding + b"".join(extended))


def test_success_is_no_failure() -> None:
    assert failure(acknowledgement(0, CAPPED, b""), "make link") is None


def test_a_refusal_is_an_error_with_its_number() -> None:
    error = failure(acknowledgement(errno.EEXIST, 0, bytes(20)), "make link kinety7")
    assert isinstance(error, FileExistsError)
    assert error.strerror == "make link kinety7: File exists"


@pytest.mark.parametrize(("flags", "echoed"), [(CAPPED, b""), (0, bytes(21)), (0, b"")])
def test_the_kernels_own_words_are_told(flags: int, echoed: bytes) -> None:
    words = text(EXTENDED_MESSAGE, "Unknown device type")
    error = failure(acknowledgement(errno.EOPNOTSUPP, flags | EXTENDED, echoed, words), "make link")
    assert error is not None
    assert error.errno == errno.EOPNOTSUPP
    assert str(error.strerror).endswith("(Unknown device type)")


def test_a_refusal_without_words_says_none() -> None:
    error = failure(acknowledgement(errno.EPERM, EXTENDED | CAPPED, b""), "make link")
    assert error is not None
    assert error.strerror == "make link: Operation not permitted"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"\xff\xff", "make link: an answer of 2 bytes is cut off"),
        (struct.pack("=i", 7), "make link: an answer with 7, which is no error's number"),
        (struct.pack("=i", -(1 << 31)), "an answer with -2147483648"),
    ],
)
def test_an_answer_that_cannot_be_is_told(body: bytes, complaint: str) -> None:
    error = failure(Message(ERROR, EXTENDED, 1, body), "make link")
    assert error is not None
    assert error.errno == errno.EBADMSG
    assert complaint in str(error)


def test_words_that_are_no_text_do_not_hide_the_refusal() -> None:
    error = failure(acknowledgement(errno.EPERM, EXTENDED | CAPPED, b"", attribute(1, b"\xff")), "make link")
    assert error is not None
    assert error.errno == errno.EPERM
