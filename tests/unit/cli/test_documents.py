import io
from pathlib import Path

import pytest

from kinety.api.types import BODY_LIMIT
from kinety.cli.documents import STDIN, read_documents


def test_files_directories_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.yaml").write_text("b")
    (tmp_path / "deep" / "a.yml").write_text("a")
    (tmp_path / "notes.txt").write_text("no policy")
    single = tmp_path / "any-name"
    single.write_bytes(b"\xef\xbb\xbfmarked")

    class Input:
        buffer = io.BytesIO("ünï".encode())

    monkeypatch.setattr("sys.stdin", Input())
    documents = read_documents([str(single), "-", str(tmp_path)])
    assert [(document.file, document.text) for document in documents] == [
        (str(single), "marked"),
        (STDIN, "ünï"),
        (str(tmp_path / "b.yaml"), "b"),
        (str(tmp_path / "deep" / "a.yml"), "a"),
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\0b", "zero byte at offset 1"),
        (b"\x7fELF\x02\x01\x01\x00", "not a text file"),
        (b"kind: \xff", "byte 0xff at offset 6 is not UTF-8"),
        (b"x" * (BODY_LIMIT + 1), "more than 4 MiB"),
    ],
)
def test_what_is_no_policy_text(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=message) as raised:
        read_documents([str(file)])
    assert str(raised.value).startswith(f"{file}: ")


def test_files_are_counted_together(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_bytes(b"#" * (BODY_LIMIT // 2 + 1))
    with pytest.raises(ValueError, match=r"b\.yaml: more than 4 MiB"):
        read_documents([str(tmp_path)])


def test_an_endless_file_is_not_read_to_its_end() -> None:
    with pytest.raises(ValueError, match="more than 4 MiB"):
        read_documents(["/dev/zero"])


def test_no_name_is_not_the_current_directory() -> None:
    with pytest.raises(ValueError, match="'' is no name"):
        read_documents([""])


def test_a_directory_without_policies(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no \.yaml, \.yml or \.json file"):
        read_documents([str(tmp_path)])
