"""Which redirect is taken where something is missing, and what is said about it."""

import errno
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from kinety.abi import Redirect
from kinety.datapath import redirect_choice
from kinety.datapath.redirect_choice import RedirectChoice, choose_redirect
from kinety.kernel.spec import ProgramSpec
from kinety.kernel.uapi import ProgramType

ALL = pytest.mark.parametrize("wanted", list(Redirect), ids=lambda each: each.name.lower())
LOOKUP, ANSWER = ProgramType.SK_LOOKUP, ProgramType.CGROUP_SOCKOPT
NO_LOOKUP = "this kernel has no sk_lookup programs (Invalid argument)"
NO_NFT = "tproxy needs the program nft: install the package nftables"
NO_CGROUPS = "no cgroups of version 2 are mounted"
NO_COUNT = "the kernel has no field msg_tot_len of a structure sk_psock"


class Machine:
    """What a node can do. Everything, until something is taken away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.refused: set[ProgramType] = set()
        self.asked: list[ProgramType] = []
        self._patch = monkeypatch
        monkeypatch.setattr(redirect_choice.Program, "load", self._load)
        monkeypatch.setattr(redirect_choice.Map, "create", lambda spec: BytesIO())
        monkeypatch.setattr(redirect_choice.Link, "attach_map", lambda *_: BytesIO())
        monkeypatch.setattr(redirect_choice, "require_counts", lambda: None)
        monkeypatch.setattr(redirect_choice, "cgroup_root", lambda: directory)
        monkeypatch.setattr(redirect_choice.shutil, "which", lambda name: f"/usr/sbin/{name}")

    def _load(self, spec: ProgramSpec, maps: object) -> BytesIO:
        self.asked.append(spec.type)
        if spec.type in self.refused:
            raise OSError(errno.EINVAL, "Invalid argument")
        return BytesIO()

    def without_nft(self) -> None:
        self._patch.setattr(redirect_choice.shutil, "which", lambda name: None)

    def without_cgroups(self) -> None:
        self._patch.setattr(redirect_choice, "cgroup_root", complaint(OSError(NO_CGROUPS)))

    def without_links_to_maps(self) -> None:
        error = OSError(errno.EINVAL, "Invalid argument")
        self._patch.setattr(redirect_choice.Link, "attach_map", lambda *_: complaint(error)())

    def without_counts(self) -> None:
        error = FileNotFoundError(errno.ENOENT, NO_COUNT)
        self._patch.setattr(redirect_choice, "require_counts", complaint(error))


def complaint(error: OSError) -> Callable[[], None]:
    def complain() -> None:
        raise error

    return complain


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


@ALL
def test_what_is_asked_for_is_taken_without_a_word_where_everything_is_there(
    machine: Machine, wanted: Redirect
) -> None:
    assert choose_redirect(wanted) == RedirectChoice(wanted)


@ALL
def test_without_programs_that_choose_sockets_nftables_does_it(machine: Machine, wanted: Redirect) -> None:
    machine.refused = {LOOKUP}
    if wanted in (Redirect.NONE, Redirect.TPROXY):
        assert choose_redirect(wanted) == RedirectChoice(wanted)
        assert machine.asked == [], "neither needs one"
        return
    assert choose_redirect(wanted) == RedirectChoice(
        Redirect.TPROXY, f"not {wanted.name.lower()}: {NO_LOOKUP}"
    )


@ALL
def test_without_nft_either_nothing_is_led(machine: Machine, wanted: Redirect) -> None:
    machine.refused = {LOOKUP}
    machine.without_nft()
    if wanted is Redirect.NONE:
        assert choose_redirect(wanted) == RedirectChoice(wanted)
        return
    why = NO_NFT if wanted is Redirect.TPROXY else f"not {wanted.name.lower()}: {NO_LOOKUP}; {NO_NFT}"
    assert choose_redirect(wanted) == RedirectChoice(Redirect.NONE, why)


@ALL
def test_without_nft_alone_only_tproxy_is_missed(machine: Machine, wanted: Redirect) -> None:
    machine.without_nft()
    missed = RedirectChoice(Redirect.NONE, NO_NFT)
    assert choose_redirect(wanted) == (missed if wanted is Redirect.TPROXY else RedirectChoice(wanted))


@ALL
def test_without_cgroups_those_who_need_them_give_packets_their_socket(
    machine: Machine, wanted: Redirect
) -> None:
    machine.without_cgroups()
    missed = RedirectChoice(Redirect.SK_ASSIGN, f"not {wanted.name.lower()}: {NO_CGROUPS}")
    needing = (Redirect.NAT, Redirect.SOCKMAP)
    assert choose_redirect(wanted) == (missed if wanted in needing else RedirectChoice(wanted))


@ALL
def test_a_kernel_that_does_not_count_has_no_sockmap(machine: Machine, wanted: Redirect) -> None:
    machine.without_counts()
    missed = RedirectChoice(Redirect.SK_ASSIGN, f"not sockmap: {NO_COUNT}")
    assert choose_redirect(wanted) == (missed if wanted is Redirect.SOCKMAP else RedirectChoice(wanted))


def test_a_kernel_whose_answers_are_its_own_has_no_nat(machine: Machine) -> None:
    machine.refused = {ANSWER}
    assert choose_redirect(Redirect.NAT) == RedirectChoice(
        Redirect.SK_ASSIGN,
        "not nat: this kernel has no programs that answer getsockopt (Invalid argument)",
    )


def test_a_kernel_that_counts_need_not_have_links_to_maps(machine: Machine) -> None:
    """Counting was given to older ones."""
    machine.without_links_to_maps()
    assert choose_redirect(Redirect.SOCKMAP) == RedirectChoice(
        Redirect.SK_ASSIGN, "not sockmap: this kernel has no links to maps of sockets (Invalid argument)"
    )


def test_cgroups_in_which_none_can_be_made_are_none_for_nat(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in many containers. Where they only have to be there, they may be anybody's."""
    monkeypatch.setattr(redirect_choice.os, "access", lambda path, mode: path != tmp_path)
    chosen = choose_redirect(Redirect.NAT)
    assert chosen == RedirectChoice(Redirect.SK_ASSIGN, f"not nat: no cgroup can be made in {tmp_path}")
    assert choose_redirect(Redirect.SOCKMAP) == RedirectChoice(Redirect.SOCKMAP)


def test_what_is_taken_instead_has_to_be_there_itself(machine: Machine) -> None:
    """No counting, no choosing of sockets, no nft: the last complaint is what can be mended."""
    machine.without_counts()
    machine.refused = {LOOKUP}
    assert choose_redirect(Redirect.SOCKMAP).redirect is Redirect.TPROXY
    machine.without_nft()
    chosen = choose_redirect(Redirect.SOCKMAP)
    assert chosen.redirect is Redirect.NONE
    assert chosen.why.endswith(NO_NFT)


@pytest.mark.needs("root", "bpf", "nft", "cgroup2", "btf", "objects")
@pytest.mark.parametrize("wanted", [Redirect.SK_ASSIGN, Redirect.NAT, Redirect.SOCKMAP], ids=str)
def test_this_kernel_is_really_asked_and_nothing_stays(wanted: Redirect) -> None:
    """That descriptors are left fails the test by itself."""
    assert choose_redirect(wanted) == RedirectChoice(wanted)
