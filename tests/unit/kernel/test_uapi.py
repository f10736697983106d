"""Numbers that Kinety writes down are those of the kernel it runs on."""

from __future__ import annotations

from enum import IntEnum, IntFlag

import pytest

from kinety.kernel.uapi import (
    SECTIONS,
    AttachType,
    Command,
    LinkType,
    MapFlag,
    MapType,
    ProgramType,
    UpdateFlag,
    section_meaning,
)

from . import vmlinux

#: Introduced after the oldest kernel that Kinety runs on (docs/kernels.md), so an older one may lack them.
YOUNG = {"BPF_TCX_INGRESS", "BPF_TCX_EGRESS", "BPF_MAP_TYPE_CGRP_STORAGE", "BPF_MAP_TYPE_ARENA"}
YOUNG |= {f"BPF_LINK_TYPE_{name}" for name in ("NETFILTER", "TCX", "UPROBE_MULTI", "NETKIT", "SOCKMAP")}


@pytest.mark.needs("btf")
@pytest.mark.parametrize(
    ("numbers", "prefix"),
    [
        (Command, "BPF_"),
        (MapType, "BPF_MAP_TYPE_"),
        (MapFlag, "BPF_F_"),
        (UpdateFlag, "BPF_"),
        (ProgramType, "BPF_PROG_TYPE_"),
        (AttachType, "BPF_"),
        (LinkType, "BPF_LINK_TYPE_"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_number_is_the_kernels(numbers: type[IntEnum] | type[IntFlag], prefix: str) -> None:
    mine = {f"{prefix}{name}": int(value) for name, value in numbers.__members__.items()}
    kernels = vmlinux.enumerators()
    assert mine.keys() - YOUNG <= kernels.keys()
    assert {name: kernels[name] for name in mine if name in kernels} == {
        name: value for name, value in mine.items() if name in kernels
    }


@pytest.mark.parametrize("section", sorted(SECTIONS))
def test_a_section_means_the_same_with_anything_after_it(section: str) -> None:
    assert section_meaning(section) == SECTIONS[section]
    assert section_meaning(f"{section}/of/mine") == SECTIONS[section]


@pytest.mark.parametrize("section", ["", "/", "tcx", "tcx/", "tc_more", "cgroup/connect5", "xdpx", " tc"])
def test_an_unknown_section_is_refused_with_those_that_are_known(section: str) -> None:
    with pytest.raises(ValueError, match="are of no known type; known: tc, classifier, ") as caught:
        section_meaning(section)
    assert repr(section) in str(caught.value)


def test_no_section_shadows_another() -> None:
    assert section_meaning("cgroup_skb/ingress")[1] is AttachType.CGROUP_INET_INGRESS
    assert section_meaning("sk_skb/verdict")[1] is AttachType.SK_SKB_VERDICT
    assert section_meaning("tcx/egress/last")[1] is AttachType.TCX_EGRESS
