"""Numbers of the kernel's BPF interface that Kinety uses. Source: include/uapi/linux/bpf.h."""

from enum import IntEnum, IntFlag

OBJECT_NAME_LENGTH = 15


class Command(IntEnum):
    """What to ask of bpf(2)."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    MAP_GET_NEXT_ID = 12
    PROG_GET_FD_BY_ID = 13
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    BTF_LOAD = 18
    MAP_FREEZE = 22
    MAP_LOOKUP_BATCH = 24
    MAP_UPDATE_BATCH = 26
    MAP_DELETE_BATCH = 27
    LINK_CREATE = 28
    LINK_UPDATE = 29
    ENABLE_STATS = 32
    LINK_DETACH = 34


class MapType(IntEnum):
    """Kinds of map."""

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERF_EVENT_ARRAY = 4
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    STACK_TRACE = 7
    CGROUP_ARRAY = 8
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13
    DEVMAP = 14
    SOCKMAP = 15
    CPUMAP = 16
    XSKMAP = 17
    SOCKHASH = 18
    CGROUP_STORAGE = 19
    REUSEPORT_SOCKARRAY = 20
    PERCPU_CGROUP_STORAGE = 21
    QUEUE = 22
    STACK = 23
    SK_STORAGE = 24
    DEVMAP_HASH = 25
    STRUCT_OPS = 26
    RINGBUF = 27
    INODE_STORAGE = 28
    TASK_STORAGE = 29
    BLOOM_FILTER = 30
    USER_RINGBUF = 31
    CGRP_STORAGE = 32
    ARENA = 33


MAPS_OF_MAPS = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS})
#: Maps of sockets take no description of their rows.
SOCKET_MAPS = frozenset({MapType.SOCKMAP, MapType.SOCKHASH})
PER_CPU_MAPS = frozenset({MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH})


class MapFlag(IntFlag):
    """How a map is created."""

    NO_PREALLOC = 1 << 0
    NO_COMMON_LRU = 1 << 1
    NUMA_NODE = 1 << 2
    RDONLY = 1 << 3
    WRONLY = 1 << 4
    RDONLY_PROG = 1 << 7
    WRONLY_PROG = 1 << 8
    MMAPABLE = 1 << 10
    PRESERVE_ELEMS = 1 << 11
    INNER_MAP = 1 << 12


class UpdateFlag(IntEnum):
    """What an update expects to find."""

    ANY = 0
    NOEXIST = 1
    EXIST = 2


class ProgramType(IntEnum):
    """Kinds of program."""

    SOCKET_FILTER = 1
    KPROBE = 2
    SCHED_CLS = 3
    SCHED_ACT = 4
    TRACEPOINT = 5
    XDP = 6
    CGROUP_SKB = 8
    CGROUP_SOCK = 9
    SOCK_OPS = 13
    SK_SKB = 14
    SK_MSG = 16
    CGROUP_SOCK_ADDR = 18
    CGROUP_SOCKOPT = 25
    SK_LOOKUP = 30
    SYSCALL = 31
    NETFILTER = 32


class AttachType(IntEnum):
    """Where a program may be attached."""

    CGROUP_INET_INGRESS = 0
    CGROUP_INET_EGRESS = 1
    CGROUP_INET_SOCK_CREATE = 2
    CGROUP_SOCK_OPS = 3
    SK_SKB_STREAM_PARSER = 4
    SK_SKB_STREAM_VERDICT = 5
    SK_MSG_VERDICT = 7
    CGROUP_INET4_BIND = 8
    CGROUP_INET6_BIND = 9
    CGROUP_INET4_CONNECT = 10
    CGROUP_INET6_CONNECT = 11
    CGROUP_INET4_POST_BIND = 12
    CGROUP_INET6_POST_BIND = 13
    CGROUP_UDP4_SENDMSG = 14
    CGROUP_UDP6_SENDMSG = 15
    CGROUP_UDP4_RECVMSG = 19
    CGROUP_UDP6_RECVMSG = 20
    CGROUP_GETSOCKOPT = 21
    CGROUP_SETSOCKOPT = 22
    CGROUP_INET4_GETPEERNAME = 29
    CGROUP_INET6_GETPEERNAME = 30
    CGROUP_INET4_GETSOCKNAME = 31
    CGROUP_INET6_GETSOCKNAME = 32
    CGROUP_INET_SOCK_RELEASE = 34
    SK_LOOKUP = 36
    XDP = 37
    SK_SKB_VERDICT = 38
    NETFILTER = 45
    TCX_INGRESS = 46
    TCX_EGRESS = 47


class NetfilterFamily(IntEnum):
    """NFPROTO_*, as far as programs can be attached."""

    IPV4 = 2
    IPV6 = 10


class NetfilterHook(IntEnum):
    """NF_INET_*: where a packet is when it is looked at."""

    PRE_ROUTING = 0
    LOCAL_IN = 1
    FORWARD = 2
    LOCAL_OUT = 3
    POST_ROUTING = 4


class LinkType(IntEnum):
    """Kinds of link."""

    UNSPEC = 0
    RAW_TRACEPOINT = 1
    TRACING = 2
    CGROUP = 3
    ITER = 4
    NETNS = 5
    XDP = 6
    PERF_EVENT = 7
    KPROBE_MULTI = 8
    STRUCT_OPS = 9
    NETFILTER = 10
    TCX = 11
    UPROBE_MULTI = 12
    NETKIT = 13
    SOCKMAP = 14


#: ELF section -> what libbpf's convention says a program in it is. A section matches when it is the
#: name, or the name followed by "/" and anything.
SECTIONS: dict[str, tuple[ProgramType, AttachType | None]] = {
    "tc": (ProgramType.SCHED_CLS, None),
    "classifier": (ProgramType.SCHED_CLS, None),
    "tcx/ingress": (ProgramType.SCHED_CLS, AttachType.TCX_INGRESS),
    "tcx/egress": (ProgramType.SCHED_CLS, AttachType.TCX_EGRESS),
    "netfilter": (ProgramType.NETFILTER, AttachType.NETFILTER),
    "xdp": (ProgramType.XDP, AttachType.XDP),
    "socket": (ProgramType.SOCKET_FILTER, None),
    "cgroup_skb/ingress": (ProgramType.CGROUP_SKB, AttachType.CGROUP_INET_INGRESS),
    "cgroup_skb/egress": (ProgramType.CGROUP_SKB, AttachType.CGROUP_INET_EGRESS),
    "cgroup/sock_create": (ProgramType.CGROUP_SOCK, AttachType.CGROUP_INET_SOCK_CREATE),
    "cgroup/sock_release": (ProgramType.CGROUP_SOCK, AttachType.CGROUP_INET_SOCK_RELEASE),
    "cgroup/post_bind4": (ProgramType.CGROUP_SOCK, AttachType.CGROUP_INET4_POST_BIND),
    "cgroup/post_bind6": (ProgramType.CGROUP_SOCK, AttachType.CGROUP_INET6_POST_BIND),
    "cgroup/bind4": (ProgramType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_BIND),
    "cgroup/bind6": (ProgramType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_BIND),
    "cgroup/connect4": (ProgramType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_CONNECT),
    "cgroup/connect6": (ProgramType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_CONNECT),
    "cgroup/sendmsg4": (ProgramType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP4_SENDMSG),
    "cgroup/sendmsg6": (ProgramType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP6_SENDMSG),
    "cgroup/recvmsg4": (ProgramType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP4_RECVMSG),
    "cgroup/recvmsg6": (ProgramType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP6_RECVMSG),
    "cgroup/getpeername4": (ProgramType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_GETPEERNAME),
    "cgroup/getpeername6": (ProgramType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_GETPEERNAME),
    "cgroup/getsockopt": (ProgramType.CGROUP_SOCKOPT, AttachType.CGROUP_GETSOCKOPT),
    "sockops": (ProgramType.SOCK_OPS, AttachType.CGROUP_SOCK_OPS),
    "sk_lookup": (ProgramType.SK_LOOKUP, AttachType.SK_LOOKUP),
    "sk_msg": (ProgramType.SK_MSG, AttachType.SK_MSG_VERDICT),
    "sk_skb/stream_verdict": (ProgramType.SK_SKB, AttachType.SK_SKB_STREAM_VERDICT),
    "sk_skb/stream_parser": (ProgramType.SK_SKB, AttachType.SK_SKB_STREAM_PARSER),
    "sk_skb/verdict": (ProgramType.SK_SKB, AttachType.SK_SKB_VERDICT),
}


def section_meaning(section: str) -> tuple[ProgramType, AttachType | None]:
    """Type and attach type of programs in an ELF section. Raises ValueError for an unknown section."""
    name = section
    while name:
        if name in SECTIONS:
            return SECTIONS[name]
        name = name.rpartition("/")[0]
    raise ValueError(f"programs in section {section!r} are of no known type; known: {', '.join(SECTIONS)}")
