"""libbpf as the outside baseline: an object opened, filled and loaded for an endpoint, as its users do it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

__all__ = ["Library"]


class Library:
    """libbpf's C interface, as far as a deployment needs it."""

    def __init__(self) -> None:
        """Raises OSError when it is not installed."""
        self._library = ctypes.CDLL("libbpf.so.1", use_errno=True)
        self._library.libbpf_set_print(None)  # a line about every object that has a section of ours
        self._open = self._function(
            "bpf_object__open_file", ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
        )
        self._find = self._function(
            "bpf_object__find_map_by_name", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p
        )
        self._reuse = self._function("bpf_map__reuse_fd", ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
        self._fill = self._function(
            "bpf_map__set_initial_value", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
        )
        self._program = self._function(
            "bpf_object__find_program_by_name", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p
        )
        self._descriptor = self._function("bpf_program__fd", ctypes.c_int, ctypes.c_void_p)
        self._load = self._function("bpf_object__load", ctypes.c_int, ctypes.c_void_p)
        self._close = self._function("bpf_object__close", None, ctypes.c_void_p)

    def load(self, path: Path, contents: Mapping[str, bytes], maps: Mapping[str, int]) -> int:
        """Open an object, fill its sections, use these maps (descriptors), load; end it by ``programs``.

        Raises OSError.
        """
        handle: int | None = self._open(os.fsencode(path), None)
        if not handle:
            raise OSError(ctypes.get_errno(), f"libbpf opens no {path}")
        for name, fd in maps.items():
            self._checked(self._reuse(self._find(handle, name.encode()), fd), f"use map {name}", handle)
        for name, data in contents.items():
            found = self._find(handle, name.encode())
            self._checked(self._fill(found, data, len(data)), f"fill {name}", handle)
        self._checked(self._load(handle), f"load {path.name}", handle)
        return handle

    def programs(self, handle: int, names: Iterable[str]) -> list[int]:
        """Close an object; descriptors of its programs, which stay."""
        found = [os.dup(self._descriptor(self._program(handle, name.encode()))) for name in names]
        self._close(handle)
        return found

    def _checked(self, answer: int, action: str, handle: int) -> None:
        if answer:
            self._close(handle)
            raise OSError(-answer, f"libbpf does not {action}: {os.strerror(-answer)}")

    def _function(self, name: str, result: type | None, *arguments: type) -> Callable[..., int]:
        function = self._library[name]
        function.restype, function.argtypes = result, arguments
        return function
