import pytest

from kinety.policy.regex import mistake


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/public/.*",
        "GET|HEAD",
        "/v1/[a-z]+(/[0-9]{1,3})?",
        "/[[:alnum:]_]+",
        r"/\pL+/\p{Greek}",
        r"a\.b\z",
        "(?i)/admin",
        "(?P<id>[0-9]+)",
        "(?:a|b)c",
        "[]a]",
        "[(?=]",
        "[*+]+",
        r"\(?=",
        "a{1000}",
        r"\0",
    ],
)
def test_nothing_is_wrong_with(text: str) -> None:
    assert mistake(text) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("(", "unterminated"),
        ("[a", "unterminated"),
        ("*a", "nothing to repeat"),
        ("a**", "multiple repeat"),
        ("(?=a)", "looks ahead"),
        ("(?!a)", "looks ahead"),
        ("(?<=a)b", "looks ahead or behind"),
        ("(?<!a)b", "looks ahead or behind"),
        ("(?>a)", "a group that begins with"),
        ("(a)(?(1)b|c)", "a group that begins with"),
        ("(?#comment)", "a group that begins with"),
        (r"(a)\1", "refers back to a group"),
        ("(?P<x>a)(?P=x)", "refers back to a group"),
        ("a++", "possessively"),
        ("a{2}+", "possessively"),
        ("a{1001}", "more than 1000 times"),
        ("a{1,1001}", "more than 1000 times"),
        ("a{99999999999999999999}", "more than 1000 times"),
        ("(" * 5000 + ")" * 5000, "nested too deeply"),
    ],
)
def test_mistakes(text: str, problem: str) -> None:
    found = mistake(text)
    assert found is not None
    assert problem in found
