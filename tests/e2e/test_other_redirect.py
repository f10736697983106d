"""Agents on kernels that cannot do the redirect that is asked for: they take another, and say why."""

from contextlib import ExitStack

import pytest

from kinety.testing.wait import wait_until
from tests.e2e.layer7_node import FAMILIES, NEEDS, NODE, WEB, WITHIN, Layer7Node, Route, serving
from tests.e2e.outside import outside
from tests.e2e.real_node import SOON, Node, connect
from tests.layer7.http_client import HttpClient
from tests.layer7.http_server import http_server

pytestmark = pytest.mark.needs(*NEEDS)

NO_LOOKUP = "this kernel has no sk_lookup programs ("
NO_CGROUPS = "no cgroups of version 2 are mounted"
NO_COUNTS = "the kernel has no field msg_tot_len of a structure sk_psock"
ROUTES = (*WITHIN, Route(NODE, "in-server", frozenset({"in"})))


def judged(node: Layer7Node) -> None:
    """What is allowed arrives and nothing else does, of everybody over both families."""
    with serving(node, ROUTES, WEB, http_server) as servers:
        for route in ROUTES:
            server = servers[route.server]
            before = len(server.received)
            for family in FAMILIES:
                address = node.address(route.server, family)
                with HttpClient(node.home(route.client), address, WEB) as client:
                    own = client.stream.getsockname()[0]
                    for kind in ("out", "in", "both"):
                        expected = 200 if route.passes(kind) else 403
                        assert client.ask("GET", f"/{kind}/x").status == expected, (route, family, kind)
                    assert server.received[-1].client == own
            passing = [f"/{kind}/x" for kind in ("out", "in", "both") if route.passes(kind)]
            assert [each.path for each in server.received[before:]] == passing * len(FAMILIES)
    with pytest.raises(TimeoutError):
        connect(node.home("free-client"), node.address("in-server", 4), WEB + 1, 0.5)


@pytest.mark.parametrize(
    ("machine", "wanted", "taken", "why"),
    [
        ("without-sk-lookup", "sk_assign", "tproxy", f"not sk_assign: {NO_LOOKUP}"),
        ("without-counts", "sockmap", "sk_assign", f"not sockmap: {NO_COUNTS}"),
        ("without-cgroups", "sockmap", "sk_assign", f"not sockmap: {NO_CGROUPS}"),
        ("without-cgroups", "nat", "sk_assign", f"not nat: {NO_CGROUPS}"),
    ],
)
def test_another_redirect_is_taken_and_judges_as_well(
    node: Node, machine: str, wanted: str, taken: str, why: str
) -> None:
    with ExitStack() as stack:
        router = stack.enter_context(outside(node))
        node.module = ("tests.e2e.other_kernel", machine)
        made = Layer7Node(node, router, wanted)
        made.start()
        made.populate()
        first = node.kinety("proxy", "status").splitlines()[0]
        assert first.startswith(f"redirect  {taken} ({why}")
        assert node.log.read_text().count(f"flows get to proxies by {taken}: {why}") == 1
        judged(made)


def test_what_was_taken_is_left_when_the_kernel_can_do_what_is_asked_for(node: Node) -> None:
    """The next agent is on a newer one; nothing is to be said any more, and nothing of the other is there."""
    with ExitStack() as stack:
        router = stack.enter_context(outside(node))
        node.module = ("tests.e2e.other_kernel", "without-sk-lookup")
        made = Layer7Node(node, router, "sk_assign")
        made.start()
        made.populate()
        assert "tproxy ip to" in node.ruleset()
        node.end()
        node.module = Node.module
        made.start()
        assert node.kinety("proxy", "status").splitlines()[0] == "redirect  sk_assign"
        assert "tproxy ip to" not in node.ruleset()
        judged(made)


def test_the_next_agent_asks_for_another_and_proxies_are_where_it_wants_them(node: Node) -> None:
    """In a cgroup for ``nat``, and anywhere again afterwards."""
    with ExitStack() as stack:
        router = stack.enter_context(outside(node))
        made = Layer7Node(node, router, "sk_assign")
        made.start()
        made.populate()
        judged(made)
        for redirect in ("nat", "sockmap"):
            node.end()
            made.redirect = redirect
            made.start()
            assert node.kinety("proxy", "status").splitlines()[0] == f"redirect  {redirect}"
            wait_until(lambda: is_judged(made), SOON, "proxies are there")
            judged(made)


def is_judged(node: Layer7Node) -> bool:
    """Whether a request is answered, as soon as proxies that were started anew are there."""
    with http_server(node.home("in-server"), WEB):
        try:
            with HttpClient(node.home("free-client"), node.address("in-server", 4), WEB, 0.5) as client:
                return client.ask("GET", "/in/x").status == 200
        except OSError:
            return False
