"""Policy files from the command line, read with limits."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from kinety.api.types import BODY_LIMIT, Document

STDIN = "<stdin>"
_SUFFIXES = {".yaml", ".yml", ".json"}


def read_documents(names: Iterable[str]) -> list[Document]:
    """The texts of files, of all policy files below directories, and of ``-``, standard input.

    Raises ValueError for what is no text or too large together, OSError for what cannot be read.
    """
    documents = []
    room = BODY_LIMIT
    for file, data in _read_all(names):
        room -= len(data)
        if room < 0:
            raise ValueError(
                f"{file}: more than {BODY_LIMIT // 2**20} MiB of policy in one go; apply it in parts"
            )
        documents.append(Document(file, _text(file, data)))
    return documents


def _read_all(names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        if name == "-":
            yield STDIN, sys.stdin.buffer.read(BODY_LIMIT + 1)
            continue
        if not name:
            raise ValueError("'' is no name of a file")
        path = Path(name)
        files = _below(path) if path.is_dir() else [path]
        for file in files:
            try:
                with file.open("rb") as stream:
                    yield str(file), stream.read(BODY_LIMIT + 1)
            except OSError as error:
                raise OSError(f"{file}: {error.strerror}") from error


def _below(directory: Path) -> list[Path]:
    files = sorted(path for path in directory.rglob("*") if path.suffix in _SUFFIXES and path.is_file())
    if not files:
        raise ValueError(f"{directory}: no .yaml, .yml or .json file in this directory")
    return files


def _text(file: str, data: bytes) -> str:
    nul = data.find(b"\0")
    if nul >= 0:
        raise ValueError(f"{file}: not a text file (a zero byte at offset {nul}); policies are YAML or JSON")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = f"byte {data[error.start]:#04x} at offset {error.start}"
        raise ValueError(
            f"{file}: not a text file ({byte} is not UTF-8); policies are YAML or JSON"
        ) from error
