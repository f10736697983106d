"""Patterns of DNS names."""

import pytest

from kinety.testing.oracle.name import matches


@pytest.mark.parametrize(
    ("pattern", "held", "not_held"),
    [
        ("example.com", ["example.com", "Example.COM."], ["www.example.com", "examplexcom"]),
        ("*.example.com", ["www.example.com"], ["a.b.example.com", "example.com"]),
        ("**.example.com", ["www.example.com", "a.b.example.com"], ["example.com", "xexample.com"]),
        ("w*.example.com", ["www.example.com", "w.example.com"], ["a.example.com"]),
        ("*", ["example.com", "a.b.c"], []),
    ],
)
def test_matches(pattern: str, held: list[str], not_held: list[str]) -> None:
    assert all(matches(pattern, name) for name in held)
    assert not any(matches(pattern, name) for name in not_held)
