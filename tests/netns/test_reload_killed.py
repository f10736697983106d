"""An agent that is killed between any two system calls of a reload: the next start comes out whole."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from kinety.kernel import syscall
from kinety.kernel.netlink import Netlink
from kinety.model.endpoint import EndpointId
from kinety.plan.change import Snapshot
from tests.netns.datapath_node import Flow, Node, address, listening, node, plan, refused, rule_sets, tcp
from tests.netns.test_reload import (
    ALLIANCE,
    CLASSES,
    EMPIRE,
    EMPIRE_CLASS,
    PORT,
    SERVER,
    TIE,
    XWING,
    freed,
    judge_alone,
    programs,
)
from tests.versions import another_version

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

PLANS = {SERVER: plan(EMPIRE, ingress="guard"), TIE: plan(EMPIRE), XWING: plan(ALLIANCE)}
SNAPSHOT = Snapshot({}, rule_sets(guard=tcp(EMPIRE_CLASS, PORT)), CLASSES, {}, PLANS)


@pytest.fixture
def lab() -> Iterator[Node]:
    """A server that the empire alone may connect to; two endpoints on links, one on filters alone."""
    with node() as built:
        datapath = built.open()
        for name, number in (("server", SERVER), ("tie", TIE), ("xwing", XWING)):
            built.attach(name, number)
        built.put(PLANS, identity_classes=CLASSES, rule_sets=SNAPSHOT.rule_sets)
        while built.run(datapath.statistics).endpoints_promoted < 2:
            built.run(datapath.maintain)
        yield built


#: Everything by which a reload changes the kernel or the file system.
DEEDS = ((syscall, "call"), (Netlink, "_send"), (Path, "mkdir"), (Path, "unlink"), (Path, "rmdir"))


def killed_before(deed: int, function: Callable[[], object]) -> bool:
    """Run in a child that is killed before it does something for the n-th time; False when it ended first."""
    child = os.fork()
    if child == 0:
        done = itertools.count(1)

        def counted(original: Callable[..., Any]) -> Callable[..., Any]:
            def attempt(*arguments: Any, **named: Any) -> Any:
                if next(done) == deed:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments, **named)

            return attempt

        status = 1
        try:
            for owner, name in DEEDS:
                patch.object(owner, name, counted(getattr(owner, name))).start()
            function()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "the reload itself failed"
    return False


def test_a_kill_between_any_two_steps_leaves_a_whole_node(lab: Node) -> None:
    where = address(SERVER, 4)
    known = frozenset(map(EndpointId, PLANS))
    wanted = replace(lab.settings, event_level=0)
    with listening(lab.endpoints["server"], where, PORT) as server:
        flow = Flow(lab, "tie", where, PORT, server)
        former: set[int] = set()
        for deed in itertools.count(1):
            datapath = lab.datapath
            assert datapath is not None
            held = programs(lab)
            reload = partial(lab.run, datapath.reload, wanted, another_version())
            interrupted = killed_before(deed, reload)
            assert flow.carries(), f"nobody steers, killed before deed {deed}"
            assert refused(lab.endpoints["xwing"], where, PORT)
            lab.forget()
            lab.open(SNAPSHOT, known)
            former |= held - programs(lab)
            promoted = lab.run(lab.datapath.statistics).endpoints_promoted
            assert promoted == 2
            judge_alone(lab, programs(lab), clsact_only=False)
            assert flow.carries(), f"started again, killed before deed {deed}"
            if not interrupted:
                break
        assert deed > 25, "links, filters, programs and pins were on the way"
        freed(former)
        flow.close()
