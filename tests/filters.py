"""Filters as an operator would write them, compiled as the guide says."""

import functools
import platform
import subprocess
import tempfile
from pathlib import Path

from tests.feature import ROOT

HEADER = ROOT / "src/kinety/bpf"
_INCLUDES = (
    "linux/bpf.h",
    "linux/in.h",
    "linux/pkt_cls.h",
    "bpf/bpf_endian.h",
    "bpf/bpf_helpers.h",
    "kinety_hook.h",
)
#: Notes of the last packet at each point everything the filter is told, and how many there were.
RECORDER = """
struct seen { struct kinety_packet packet; __u32 count; };
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, struct seen);
} seen SEC(".maps");

static __always_inline int record(struct __sk_buff *skb, __u32 row)
{
    struct seen *last = bpf_map_lookup_elem(&seen, &row);

    if (last) {
        last->packet = kinety_packet(skb);
        last->count++;
    }
    return KINETY_PASS;
}
KINETY_EGRESS int leaves(struct __sk_buff *skb) { return record(skb, 0); }
KINETY_INGRESS int enters(struct __sk_buff *skb) { return record(skb, 1); }
"""


def answer(value: int, *points: str) -> str:
    """Filters that give every packet the same answer; ``points`` are EGRESS and INGRESS."""
    return "\n".join(
        f"KINETY_{point} int {point.lower()}(struct __sk_buff *skb) {{ return {value}; }}" for point in points
    )


@functools.cache
def filter_object(text: str) -> bytes:
    """What clang makes of a few lines after the usual includes."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "filter.bpf.c"
        includes = "".join(f"#include <{name}>\n" for name in _INCLUDES)
        source.write_text(f'{includes}{text}\nchar _license[] SEC("license") = "GPL";\n')
        return compiled_filter(source)


def compiled_filter(source: Path) -> bytes:
    """The object of a source file, as docs/guide/hooks.md compiles one."""
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "filter.o"
        headers = (f"-I{HEADER}", f"-I/usr/include/{platform.machine()}-linux-gnu")
        subprocess.run(
            ["clang-14", "-O2", "-g", "-target", "bpf", *headers, "-c", source, "-o", target], check=True
        )
        return target.read_bytes()
