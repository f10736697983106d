"""What this machine can do: the features a test may say it ``needs``.

Each probe asks the kernel or the file system for the thing itself, not for a version number, and answers
None or one sentence that says what is missing. A probe runs once per test run.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFORMANCE = ROOT.parent / "shared" / "conformance"
#: Debian's container runtimes, what they need, and its CNI plugins, which `make test` unpacks there.
RUNTIMES = ROOT / "build/runtimes"
CNI_PLUGINS = RUNTIMES / "usr/lib/cni"
#: The proxy for rules about content, as `make test` unpacks it.
ENVOY = ROOT / "build/envoy/envoy/_bin/envoy"

_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_BPF_MAP_CREATE, _BPF_PROG_QUERY = 0, 16
_BPF_MAP_TYPE_ARRAY, _BPF_TCX_INGRESS = 2, 46
_BPF_PROG_LOAD, _BPF_PROG_TYPE_NETFILTER, _BPF_NETFILTER = 5, 32, 45


def _bpf(command: int, attributes: bytes) -> int:
    """bpf(2) with raw attributes; a file descriptor or 0, or a negative errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    answer = libc.syscall(_BPF_SYSCALL[platform.machine()], command, buffer, 128)
    return answer if answer >= 0 else -ctypes.get_errno()


def _runs(*command: str) -> bool:
    done = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20, check=False
    )
    return done.returncode == 0


def _tool(name: str) -> str | None:
    return None if shutil.which(name) else f"the program {name} is not installed"


def root() -> str | None:
    return None if os.geteuid() == 0 else "not run as root"


def bpf() -> str | None:
    if platform.machine() not in _BPF_SYSCALL:
        return f"the number of bpf(2) on {platform.machine()} is not known here"
    answer = _bpf(_BPF_MAP_CREATE, struct.pack("=IIII", _BPF_MAP_TYPE_ARRAY, 4, 4, 1))
    if answer < 0:
        return f"bpf(2) creates no map: {os.strerror(-answer)}"
    os.close(answer)
    return None


def tcx() -> str | None:
    answer = _bpf(_BPF_PROG_QUERY, struct.pack("=II", 1, _BPF_TCX_INGRESS))
    return None if answer >= 0 else f"the kernel has no tcx (before v6.6): {os.strerror(-answer)}"


def netns() -> str | None:
    return root() or (None if _runs("unshare", "--net", "true") else "no network namespace can be created")


def bpffs() -> str | None:
    mounts = _runs("unshare", "--mount", "mount", "-t", "bpf", "none", "/mnt")
    return root() or (None if mounts else "a bpf file system cannot be mounted")


def nft() -> str | None:
    if missing := (_tool("nft") or netns()):
        return missing
    return None if _runs("unshare", "--net", "nft", "list", "ruleset") else "the kernel has no nftables"


def btf() -> str | None:
    return None if Path("/sys/kernel/btf/vmlinux").exists() else "the kernel carries no BTF"


def ipv6() -> str | None:
    return None if Path("/proc/sys/net/ipv6").exists() else "IPv6 is switched off"


def objects() -> str | None:
    compiled = (ROOT / "src/kinety/bpf/endpoint.o").exists()
    return None if compiled else "BPF objects are not compiled: run `make bpf`"


def netfilter() -> str | None:
    """A program that accepts, of the type that links to netfilter want."""
    code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xB7, 0, 0, 1, 0x95, 0, 0, 0))
    gpl = ctypes.create_string_buffer(b"GPL")
    pointers = (ctypes.addressof(code), ctypes.addressof(gpl))
    attributes = struct.pack("=IIQQ", _BPF_PROG_TYPE_NETFILTER, 2, *pointers).ljust(68, b"\0")
    answer = _bpf(_BPF_PROG_LOAD, attributes + struct.pack("=I", _BPF_NETFILTER))
    if answer < 0:
        return f"the kernel has no programs of netfilter's (before v6.4): {os.strerror(-answer)}"
    os.close(answer)
    return None


def cgroup2() -> str | None:
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return None if any(line.split()[2] == "cgroup2" for line in mounts) else "no cgroup2 is mounted"


def libbpf() -> str | None:
    try:
        ctypes.CDLL("libbpf.so.1")
    except OSError as error:
        return f"libbpf is not installed: {error}"
    return None


def conformance() -> str | None:
    return None if CONFORMANCE.is_dir() else "the conformance data is not next to this checkout"


def runtimes() -> str | None:
    needed = ("usr/bin/containerd", "usr/bin/podman", "usr/lib/cni/host-local", "usr/sbin/iptables-nft")
    missing = [each for each in needed if not (RUNTIMES / each).exists()]
    return f"{missing[0]} is not unpacked: run `make build/.runtimes`" if missing else None


def envoy() -> str | None:
    return None if ENVOY.exists() else "the proxy is not unpacked: run `make build/.envoy`"


PROBES: dict[str, Callable[[], str | None]] = {
    "root": root,
    "bpf": bpf,
    "tcx": tcx,
    "netfilter": netfilter,
    "netns": netns,
    "bpffs": bpffs,
    "nft": nft,
    "btf": btf,
    "ipv6": ipv6,
    "objects": objects,
    "libbpf": libbpf,
    "cgroup2": cgroup2,
    "conformance": conformance,
    "runtimes": runtimes,
    "envoy": envoy,
    "clang": functools.partial(_tool, "clang-14"),
    "bpftool": functools.partial(_tool, "bpftool"),
    "ip": functools.partial(_tool, "ip"),
    "systemd-analyze": functools.partial(_tool, "systemd-analyze"),
}


@functools.cache
def missing(feature: str) -> str | None:
    """None when the machine has the feature, else the sentence that says what is missing.

    Raises KeyError for a feature nobody knows.
    """
    return PROBES[feature]()


def required(setting: str) -> frozenset[str]:
    """The features ``KINETY_REQUIRE`` names: ``all``, or some separated by commas.

    Raises ValueError for a feature nobody knows.
    """
    if setting.strip() == "all":
        return frozenset(PROBES)
    named = frozenset(name.strip() for name in setting.split(",") if name.strip())
    if unknown := named - PROBES.keys():
        raise ValueError(
            f"KINETY_REQUIRE names unknown features: {', '.join(sorted(unknown))}; known: {', '.join(PROBES)}"
        )
    return named
