"""The two sums that frames carry: the Internet's, and that of SCTP."""

import functools

__all__ = ["crc32c", "internet_checksum", "word_sum"]

_ONES = 0xFFFF
_CRC_START = 0xFFFFFFFF
#: The Castagnoli polynomial, lowest bit first.
_CRC_POLYNOMIAL = 0x82F63B78


def word_sum(data: bytes) -> int:
    """The sum of 16-bit words with its carries added: a number modulo 65535 (RFC 1071, 2)."""
    return int.from_bytes(data + b"\0" * (len(data) % 2)) % _ONES


def internet_checksum(data: bytes) -> int:
    """The complement of the sum (RFC 1071), for data that are not all zero."""
    return -word_sum(data) % _ONES


def crc32c(data: bytes) -> int:
    """The checksum of SCTP (RFC 9260, appendix A), as a number to be sent lowest byte first."""
    table = _crc_table()
    register = _CRC_START
    for byte in data:
        register = register >> 8 ^ table[(register ^ byte) & 0xFF]
    return register ^ _CRC_START


@functools.cache
def _crc_table() -> tuple[int, ...]:
    def entry(register: int) -> int:
        for _ in range(8):
            register = register >> 1 ^ (_CRC_POLYNOMIAL if register & 1 else 0)
        return register

    return tuple(map(entry, range(256)))
