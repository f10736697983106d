"""The BPF file system, where pinned objects outlive the agent. Source: kernel doc, bpf/bpffs."""

from pathlib import Path

from kinety.kernel import libc

_BPF_FS_MAGIC = 0xCAFE4A11


def mounted(path: Path) -> bool:
    """Whether a path is on a BPF file system; False when it does not exist."""
    return path.exists() and libc.file_system_type(path) == _BPF_FS_MAGIC


def mount(path: Path) -> None:
    """Mount a BPF file system on a directory, which is made when missing; root alone may look in."""
    if not path.is_dir():
        path.mkdir(parents=True)
    libc.mount("bpf", path, "bpf", options="mode=0700")


def unmount(path: Path) -> None:
    """Unmount it; everything that is only pinned there ends."""
    libc.unmount(path)
