"""The BPF file system, mounted by us and found mounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinety.kernel import bpffs

pytestmark = pytest.mark.needs("root", "bpffs")


def test_mounted_says_what_is_there(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "pins"
    assert not bpffs.mounted(directory)
    bpffs.mount(directory)
    try:
        assert bpffs.mounted(directory)
        assert directory.stat().st_mode & 0o777 == 0o700
        assert not bpffs.mounted(tmp_path)
    finally:
        bpffs.unmount(directory)
    assert not bpffs.mounted(directory)


def test_unmounting_what_is_not_mounted_names_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=f"unmount {tmp_path}"):
        bpffs.unmount(tmp_path)
