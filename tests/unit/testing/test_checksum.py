"""Sums against their published values."""

from kinety.testing.checksum import crc32c, internet_checksum


def test_the_example_of_rfc_1071() -> None:
    assert internet_checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2


def test_an_odd_byte_is_the_high_half_of_a_word() -> None:
    assert internet_checksum(b"\x01") == 0xFFFF - 0x0100


def test_a_header_with_its_checksum_sums_to_zero() -> None:
    header = bytes.fromhex("45000073000040004011b861c0a80001c0a800c7")
    assert internet_checksum(header) == 0


def test_crc32c_of_32_zeroes() -> None:
    # RFC 3720, B.4
    assert crc32c(bytes(32)).to_bytes(4, "little") == bytes.fromhex("aa36918a")
