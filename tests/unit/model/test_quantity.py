import pytest

from kinety.model.quantity import format_quantity, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("10", 10),
        ("10k", 10_000),
        ("10M", 10_000_000),
        ("1.5G", 1_500_000_000),
        (".5k", 500),
        ("1.k", 1000),
        ("2Ki", 2048),
        ("1Pi", 2**50),
        ("1e6", 10**6),
        ("1.5E3", 1500),
        ("0.0001", 1),
        ("1.0001k", 1001),
    ],
)
def test_quantities(text: str, value: int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "M",
        ".",
        "-1",
        "+1",
        "1MM",
        "1 M",
        "1m",
        "1Kk",
        "1iM",
        "fast",
        "1e",
        "1e999",
        "²",
        "9" * 40,
        "1.2.3",
    ],
)
def test_what_is_none_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="write it as 10M"):
        parse_quantity(text)


@pytest.mark.parametrize("value", [0, 1, 999, 1000, 1500, 1_000_000, 1_500_000_000, 10**15, 10**18])
def test_they_are_written_as_they_are_read(value: int) -> None:
    assert parse_quantity(format_quantity(value)) == value
    assert format_quantity(1_500_000_000) == "1500M"
