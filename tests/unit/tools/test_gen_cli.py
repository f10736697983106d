import re

from kinety.cli import exit_code
from tools.gen_cli import TARGET, text


def test_the_committed_page_is_current() -> None:
    assert TARGET.read_text(encoding="utf-8") == text(), "run: python tools/gen_cli.py"


def test_the_page_has_every_exit_code() -> None:
    promised = {int(code) for code in re.findall(r"^\| (\d+) \|", text(), re.MULTILINE)}
    assert promised == {value for value in vars(exit_code).values() if isinstance(value, int)}
