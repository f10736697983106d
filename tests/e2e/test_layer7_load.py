"""Thousands of requests, allowed and forbidden, while policy changes by the real command line and API.

Ten thousand of them in every run by the redirect that is the default, and fewer by each other;
``KINETY_REQUESTS`` by each in `make soak`.
"""

import itertools
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from kinety.api.types import Document
from tests.e2e.layer7_node import (
    ACROSS,
    FAMILIES,
    NEEDS,
    POLICY,
    REDIRECTS,
    WEB,
    WITHIN,
    Layer7Node,
    layer7_node,
)
from tests.layer7.http_server import http_server
from tests.layer7.load import Arrivals, Client, Request, Stage, load

pytestmark = pytest.mark.needs(*NEEDS)

log = logging.getLogger(__name__)

#: For each redirect.
SOAK = int(os.environ.get("KINETY_REQUESTS", "0"))
COUNTS = {each: SOAK or (10_000 if each == "sk_assign" else 3_000) for each in REDIRECTS}
GET, DEEP, POST = (
    Request("GET", "/both/v1/"),
    Request("GET", "/both/v1/deep?x=1"),
    Request("POST", "/both/land"),
)
PUT, HEAD, ELSE = (
    Request("PUT", "/both/v1/port"),
    Request("HEAD", "/both/v1/"),
    Request("GET", "/both/other/"),
)
TRICK = Request("GET", "/both/v1/../other/")
#: The first is always allowed, three of the others only plainly. All pass whoever looks besides.
MIX = (GET, PUT, POST, ELSE, DEEP, TRICK, GET, HEAD)
PATIENCE = 20.0
#: Whose policy changes, and what it calls its peers.
ENDS = {"ingress": ("in", "from"), "egress": ("out", "to")}
EITHER_END = pytest.mark.parametrize("end", ENDS)


def stage(end: str, name: str, peers: str, rules: str, *allowed: Request) -> Stage:
    """What one end lets pass by some rules, or plainly without any."""
    looks, way = ENDS[end]
    looking = f"rules: {{http: {rules}}}" if rules else ""
    return Stage(
        f"""
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: looks-{looks}}}
spec:
  description: {name}
  endpointSelector: {{matchLabels: {{looks: {looks}}}}}
  {end}:
  - {way}{peers}
    toPorts:
    - ports: [{{port: "80", protocol: TCP}}]
      {looking}
""",
        frozenset(allowed),
    )


ANYBODY, NAMED = "Entities: [all]", "Entities: [cluster, host, world]"


def stages(end: str) -> tuple[Stage, ...]:
    """An edit of the same rules, another rule beside them, other peers, no rules, and one where two were."""
    return (
        stage(end, "one", ANYBODY, '[{method: GET, path: "/both/v1/.*"}]', GET, DEEP),
        stage(end, "edited", ANYBODY, '[{method: GET, path: "/both/v1/"}]', GET),
        stage(
            end,
            "two",
            ANYBODY,
            '[{method: GET, path: "/both/v1/"}, {method: POST, path: "/both/land"}]',
            GET,
            POST,
        ),
        stage(end, "peers", NAMED, '[{method: GET, path: "/both/v1/.*"}, {method: POST}]', GET, DEEP, POST),
        stage(end, "plain", NAMED, "", *MIX),
        stage(end, "wide", NAMED, '[{method: "GET|HEAD", path: "/both/v1/.*"}]', GET, DEEP, HEAD),
    )


@pytest.fixture(scope="module", params=REDIRECTS)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layer7Node]:
    with layer7_node(tmp_path_factory.mktemp("load"), request.param) as made:
        yield made


@pytest.mark.timeout(60 + max(COUNTS.values()) / 50)
@EITHER_END
def test_nothing_forbidden_arrives_and_nothing_allowed_is_refused(node: Layer7Node, end: str) -> None:
    """Of everybody whom policy is about, over both families and connections that stay or do not."""
    count, course = COUNTS[node.redirect] // len(ENDS), stages(end)
    node.node.apply(POLICY)
    node.node.apply(course[0].policy)
    arrivals, turns = Arrivals(), itertools.count()

    def put_in_force(stage: Stage) -> None:
        if next(turns) % 2:
            node.node.apply(stage.policy)
            return
        with node.node.client() as client:
            client.apply([Document("changes.yaml", stage.policy)])

    routes = [each for each in (*WITHIN, *ACROSS) if ENDS[end][0] in each.looks]
    clients = [
        Client(node.home(route.client), node.address(route.server, family), WEB, keeps)
        for route in routes
        for family in FAMILIES
        for keeps in (True, False)
    ]
    with ExitStack() as stack:
        for name in {route.server for route in routes}:
            stack.enter_context(http_server(node.home(name), WEB, remember=arrivals.see))
        tally = load(clients, arrivals, MIX, course, put_in_force, count, PATIENCE)
    log.info("%s, %s: %s", node.redirect, end, tally)
    assert (tally.leaked, tally.wronged) == ([], []), str(tally)
    assert tally.sent == count
    assert tally.forbidden > count // 10
    assert tally.changes >= 3
    assert not tally.failures, "an answer that is neither the server's nor a refusal"
    assert tally.resets["TimeoutError"] <= 1, "somebody waited for nothing"  # one, on a busy machine
    assert tally.resets.total() <= tally.changes * len(clients), "each connection ends once a change"
