import pytest

from kinety.model.layer7 import LARGEST_EXPRESSION
from kinety.policy import regex
from kinety.policy.regex import compiled, mistake


@pytest.fixture(params=["with RE2", "without"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "without":
        monkeypatch.setattr(regex, "re2", None)
    return str(request.param)


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
    ],
)
def test_mistakes(text: str, problem: str) -> None:
    found = mistake(text)
    assert found is not None
    assert problem in found


@pytest.mark.parametrize(
    ("text", "by_re2", "by_python"),
    [
        ("(", "missing ): (", "unterminated"),
        ("[a", "missing ]: [a", "unterminated"),
        ("*a", "no argument for repetition operator: *", "nothing to repeat"),
        ("a**", "bad repetition operator: **", "multiple repeat"),
    ],
)
def test_mistakes_that_either_engine_sees(engine: str, text: str, by_re2: str, by_python: str) -> None:
    found = mistake(text)
    assert found is not None
    assert (by_re2 if engine == "with RE2" else by_python) in found


def test_what_python_cannot_read_is_a_mistake_where_there_is_nobody_else(engine: str) -> None:
    found = mistake("(" * 5000 + ")" * 5000)
    assert found == (None if engine == "with RE2" else "it is nested too deeply")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("(a{500}){500}", "invalid repetition size: {500}"),
        (r"\h", r"invalid escape sequence: \h"),
        (r"a\Z", r"invalid escape sequence: \Z"),
        (r"\pX", r"invalid character class range: \pX"),
        ("[[:digits:]]", "invalid character class range: [:digits:]"),
        ("a{1000}" * 40, f"a proxy has room for {LARGEST_EXPRESSION}"),
    ],
)
def test_mistakes_that_only_re2_sees(engine: str, text: str, problem: str) -> None:
    found = mistake(text)
    if engine == "with RE2":
        assert found is not None
        assert problem in found


@pytest.mark.parametrize(
    ("text", "value", "matches"),
    [
        ("/public/.*", "/public/a", True),
        ("/public/.*", "/public/a\n", False),
        ("GET|HEAD", "GETHEAD", False),
        ("(?i)/admin", "/ADMIN", True),
        ("[[:digit:]]+", "12", True),
        (r"\pL+", "12", False),
        ("/ä", "/ä", True),
        ("x{,3}", "xx", False),
        ("x{,3}", "x{,3}", True),
    ],
)
def test_whole_values_match_as_the_proxy_says_or_nobody_knows(
    engine: str, text: str, value: str, matches: bool
) -> None:
    found = compiled(text)
    assert found is not None or engine == "without"
    assert found is None or (found.fullmatch(value) is not None) == matches
