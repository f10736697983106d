import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinety.cni.notation import read, write

plain = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
values = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(values)
def test_it_is_the_notation_of_the_library(value: Any) -> None:
    assert json.loads(write(value)) == value
    assert read(write(value).encode()) == value
    assert read(json.dumps(value, indent=1, ensure_ascii=False).encode()) == value


@given(st.text(alphabet='{}[]",:0123456789.eE+- \t\nulltrefasN"\\', max_size=12) | st.text(max_size=5))
def test_it_refuses_what_the_library_refuses(text: str) -> None:
    data = text.encode(errors="replace")
    try:
        expected = json.loads(data.decode(), parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError):
        with pytest.raises(ValueError, match=r"."):
            read(data)
    else:
        assert read(data) == expected


@pytest.mark.parametrize(
    "data", [b"", b" ", b"{} x", b"[1,]", b'{"a"}', b"NaN", b"\xff", b'"\x00"', b"\xef\xbb\xbf{}"]
)
def test_an_error_says_why(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read(data)


def test_an_error_is_the_same_where_nobody_imported_the_library() -> None:
    program = """
import sys
from kinety.cni.notation import read
assert "json" not in sys.modules
try:
    read(b'{"a": nonsense}')
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "Expecting value: line 1 column 7 (char 6)\n"


def test_what_is_no_value_is_not_written() -> None:
    with pytest.raises(TypeError, match="set is no value"):
        write({"a": {1}})
    assert write(("a", 1)) == '["a", 1]'
