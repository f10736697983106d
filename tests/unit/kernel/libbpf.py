"""libbpf, the yardstick: what it makes of an object, through its C interface."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kinety.kernel.program import Program


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    for name in ("open_file", "find_program_by_name", "find_map_by_name"):
        getattr(library, f"bpf_object__{name}").restype = ctypes.c_void_p
    library.bpf_object__open_file.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    for name in ("find_program_by_name", "find_map_by_name"):
        getattr(library, f"bpf_object__{name}").argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.bpf_map__set_initial_value.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.bpf_map__set_max_entries.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    for name in ("bpf_object__load", "bpf_object__close", "bpf_program__fd"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    return library


@contextmanager
def loaded(
    path: Path,
    names: list[str],
    contents: Mapping[str, bytes] | None = None,
    max_entries: Mapping[str, int] | None = None,
) -> Iterator[dict[str, Program]]:
    """The named programs of an object as libbpf loads them.

    ``contents`` replaces sections of variables, ``max_entries`` sizes of maps.
    """
    library = _library()
    handle = library.bpf_object__open_file(os.fsencode(path), None)
    assert handle, f"libbpf opens no {path}: {os.strerror(ctypes.get_errno())}"
    programs: dict[str, Program] = {}
    try:
        for name, data in (contents or {}).items():
            section = library.bpf_object__find_map_by_name(handle, name.encode())
            answer = library.bpf_map__set_initial_value(section, data, len(data))
            assert answer == 0, f"libbpf does not take {name}: {os.strerror(-answer)}"
        for name, count in (max_entries or {}).items():
            found = library.bpf_object__find_map_by_name(handle, name.encode())
            answer = library.bpf_map__set_max_entries(found, count)
            assert answer == 0, f"libbpf does not size {name}: {os.strerror(-answer)}"
        answer = library.bpf_object__load(handle)
        assert answer == 0, f"libbpf does not load {path}: {os.strerror(-answer)}"
        for name in names:
            found = library.bpf_object__find_program_by_name(handle, name.encode())
            programs[name] = Program(os.dup(library.bpf_program__fd(found)), name)
        yield programs
    finally:
        for program in programs.values():
            program.close()
        library.bpf_object__close(handle)
