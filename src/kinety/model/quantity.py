"""Quantities as Kubernetes writes them: ``10M``, ``1.5G``, ``512Ki``, ``1e6``.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

_SCALES = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Pi": 2**50,
}

_LONGEST = 30


def parse_quantity(text: str) -> int:
    """The number, rounded up as they do. Raises ValueError."""
    number = text.rstrip("kKMGTPi")
    scale = _SCALES.get(text[len(number) :])
    mantissa, has_exponent, exponent = number.lower().partition("e")
    whole, _, part = mantissa.partition(".")
    digits = whole + part + (exponent if has_exponent else "0")
    plain = digits.isascii() and digits.isdecimal() and (whole or part) and (exponent or not has_exponent)
    if scale is None or not plain or len(number) > _LONGEST or len(exponent) > 2:
        raise ValueError(f"{text!r} is no quantity; write it as 10M, 1.5G or 512Ki")
    value = int(whole + part + "0" * int(exponent or "0")) * scale
    return -(-value // int("1" + "0" * len(part)))


def format_quantity(value: int) -> str:
    """The shortest way to write a number exactly: with the largest decimal scale that divides it."""
    fitting = [(scale, name) for name, scale in _SCALES.items() if "i" not in name and value % scale == 0]
    scale, name = max(fitting) if value else (1, "")
    return f"{value // scale}{name}"
