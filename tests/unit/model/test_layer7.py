import pytest

from kinety.model.layer7 import NamePattern


@pytest.mark.parametrize(
    ("pattern", "names", "others"),
    [
        ("example.com", ("example.com",), ("www.example.com", "example.org", "examplexcom")),
        ("*.example.com", ("www.example.com", "a-b.example.com"), ("example.com", "a.b.example.com")),
        ("*ample.com", ("example.com", "ample.com"), ("a.example.com",)),
        ("api-*.a.com", ("api-1.a.com", "api-.a.com"), ("api.a.com", "api-1.b.a.com")),
        ("**.example.com", ("www.example.com", "a.b.example.com"), ("example.com", ".example.com")),
        ("*", ("example.com", "localhost"), ()),
    ],
)
def test_patterns(pattern: str, names: tuple[str, ...], others: tuple[str, ...]) -> None:
    assert all(map(NamePattern(pattern).matches, names))
    assert not any(map(NamePattern(pattern).matches, others))
