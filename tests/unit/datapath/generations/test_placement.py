"""Where programs are put: both or none, by links where the kernel has them, by filters where not."""

import contextlib
import errno
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kinety.datapath.generations.placement import Hooks
from kinety.kernel.collection import Collection
from kinety.kernel.link import Link
from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.kernel.program import Program
from kinety.kernel.spec import CollectionSpec
from tests.unit.kernel.conftest import compile_c  # noqa: F401

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "clang")

INDEX = 70


@dataclass
class Place:
    """A namespace with one veth pair, and pairs of programs that are told apart by their numbers."""

    namespace: Namespace
    pairs: list[dict[str, Program]]

    def judges(self, *words: str) -> str:
        """What ``tc`` or the link's facts say."""
        return self.namespace.call(
            lambda: subprocess.run(["tc", *words], check=True, capture_output=True, text=True).stdout
        )

    def filters(self) -> set[int]:
        """Numbers of the programs in filters."""
        found = set()
        for way in ("ingress", "egress"):
            words = self.judges("filter", "show", "dev", "one", way).split()
            found |= {int(words[at + 1]) for at, word in enumerate(words) if word == "id"}
        return found

    def ids(self, number: int) -> set[int]:
        return {program.id for program in self.pairs[number].values()}


@pytest.fixture
def place(compile_c: Callable[[str], bytes]) -> Iterator[Place]:  # noqa: F811
    text = "".join(
        f'SEC("tc") int {name}(struct __sk_buff *s) {{ return TC_ACT_OK; }}\n'
        for name in ("from_endpoint", "to_endpoint")
    )
    spec = CollectionSpec.parse(compile_c(text))
    with contextlib.ExitStack() as stack:
        namespace = Namespace.create(f"kt-{os.getpid()}-{secrets.token_hex(4)}")
        stack.callback(namespace.remove)
        with Netlink(namespace) as netlink, netlink.batch() as batch:
            batch.veth(
                INDEX,
                "one",
                b"\x02" + bytes(5),
                peer="other",
                peer_mac=b"\x02\x01" + bytes(4),
                peer_namespace=namespace,
                mtu=1500,
            )
        pairs = [dict(stack.enter_context(Collection.load(spec)).programs) for _ in range(3)]
        yield Place(namespace, pairs)


@contextlib.contextmanager
def hooks(place: Place, **named: Any) -> Iterator[Hooks]:
    made = place.namespace.call(lambda: Hooks(**named))
    try:
        yield made
    finally:
        made.close()


def refusing(number: int, after: int) -> Callable[..., Link]:
    """An ``attach_tcx`` that fails from some call on."""
    attach, calls = Link.attach_tcx, []

    def attempt(*arguments: Any, **named: Any) -> Link:
        calls.append(arguments)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        return attach(*arguments, **named)

    return attempt


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_kernel_without_tcx_gets_filters(
    place: Place, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(Link, "attach_tcx", refusing(number, 0))
    with hooks(place) as made:
        placed = place.namespace.call(made.place, INDEX, place.pairs[0])
        assert not made.tcx
        assert place.filters() == place.ids(0)
        placed.replace(place.pairs[1])
        assert place.filters() == place.ids(1)
        placed.remove()
        assert place.filters() == place.ids(1), "without a fallback they stay: never open"


def test_removed_filters_leave_the_interface_to_the_fallback(place: Place) -> None:
    with hooks(place, fallback=place.pairs[2], clsact_only=True) as made:
        placed = place.namespace.call(made.place, INDEX, place.pairs[0])
        assert place.filters() == place.ids(0)
        placed.remove()
        assert place.filters() == place.ids(2)


def test_a_second_link_that_is_refused_takes_the_first_with_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Link, "attach_tcx", refusing(errno.ENOSPC, 1))
    with hooks(place) as made:
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            place.namespace.call(made.place, INDEX, place.pairs[0])
        assert made.tcx
        assert place.filters() == set()
    assert links_of(place.ids(0)) == 0


def test_a_second_update_that_is_refused_puts_the_first_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hooks(place) as made:
        placed = place.namespace.call(made.place, INDEX, place.pairs[0])
        update, calls = Link.update, []

        def attempt(link: Link, program: Program) -> None:
            calls.append(program.name)
            if len(calls) == 2:
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            update(link, program)

        monkeypatch.setattr(Link, "update", attempt)
        with pytest.raises(OSError, match=os.strerror(errno.ENOMEM)):
            placed.replace(place.pairs[1])
        assert calls == ["from_endpoint", "to_endpoint", "from_endpoint"]
        assert (links_of(place.ids(0)), links_of(place.ids(1))) == (2, 0)
        placed.remove()
        assert links_of(place.ids(0)) == 0


def links_of(programs: set[int]) -> int:
    """How many links of this process hold one of these programs."""
    found = 0
    for entry in os.listdir("/proc/self/fd"):
        try:
            if "bpf_link" in os.readlink(f"/proc/self/fd/{entry}"):
                facts = Path(f"/proc/self/fdinfo/{entry}").read_text()
                found += any(f"prog_id:\t{program}\n" in facts for program in programs)
        except OSError:
            continue
    return found
