import pytest

from kinety.cli.complaint import complain


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("no endpoint x", "no endpoint x"),
        ("two\n  lines\r\n", "two lines"),
        ("no \x1b[31mred\x07", "no \\x1b[31mred\\x07"),
        ("ünï 日本", "ünï 日本"),
        ("right\u202eto left, \ud800 alone", "right\\u202eto left, \\ud800 alone"),
    ],
)
def test_one_line_that_does_nothing_to_the_terminal(
    message: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    complain(message)
    assert capsys.readouterr().err == f"kinety: {line}\n"
