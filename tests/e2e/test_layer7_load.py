"""Thousands of requests, allowed and forbidden, while policy changes by the real command line and API.

Ten thousand of them in every run, ``KINETY_REQUESTS`` in `make soak`.
"""

import itertools
import logging
import os
from collections.abc import Iterator

import pytest

from kinety.api.types import Document
from tests.e2e.layer7_node import NEEDS, REDIRECTS, WEB, Layer7Node, layer7_node
from tests.layer7.http_server import http_server
from tests.layer7.load import Arrivals, Client, Request, Stage, load

pytestmark = pytest.mark.needs(*NEEDS)

log = logging.getLogger(__name__)

COUNT = int(os.environ.get("KINETY_REQUESTS", "10000"))
GET, DEEP, POST = (
    Request("GET", "/both/v1/"),
    Request("GET", "/both/v1/deep?x=1"),
    Request("POST", "/both/land"),
)
PUT, HEAD, ELSE = Request("PUT", "/both/v1/port"), Request("HEAD", "/both/v1/"), Request("GET", "/neither/")
TRICK = Request("GET", "/both/v1/../../neither/")
#: Half of it is always forbidden; GET never.
MIX = (GET, PUT, POST, ELSE, DEEP, TRICK, GET, HEAD)
PATIENCE = 20.0


def stage(name: str, peers: str, rules: str, *allowed: Request) -> Stage:
    """What a server lets in by some rules, or plainly without any."""
    looking = f"rules: {{http: {rules}}}" if rules else ""
    return Stage(
        f"""
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: looks-in}}
spec:
  description: {name}
  endpointSelector: {{matchLabels: {{looks: in}}}}
  ingress:
  - {peers}
    toPorts:
    - ports: [{{port: "80", protocol: TCP}}]
      {looking}
""",
        frozenset(allowed),
    )


ANYBODY, ALL = "fromEntities: [all]", "fromEndpoints: [{}]"
#: An edit of the same rules, another rule beside them, other peers, and one rule where there were two.
STAGES = (
    stage("one", ANYBODY, '[{method: GET, path: "/both/v1/.*"}]', GET, DEEP),
    stage("edited", ANYBODY, '[{method: GET, path: "/both/v1/"}]', GET),
    stage(
        "two", ANYBODY, '[{method: GET, path: "/both/v1/"}, {method: POST, path: "/both/land"}]', GET, POST
    ),
    stage("peers", ALL, '[{method: GET, path: "/both/v1/.*"}, {method: POST}]', GET, DEEP, POST),
    stage("wide", ALL, '[{method: "GET|HEAD", path: "/both/v1/.*"}]', GET, DEEP, HEAD),
)


@pytest.fixture(scope="module", params=REDIRECTS)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layer7Node]:
    with layer7_node(tmp_path_factory.mktemp("load"), request.param) as made:
        yield made


@pytest.mark.timeout(60 + COUNT / 50)
@pytest.mark.parametrize("sender", ["free-client", "out-client"])
def test_nothing_forbidden_arrives_and_nothing_allowed_is_refused(node: Layer7Node, sender: str) -> None:
    """Of clients that keep connections and others, over both families, looked at themselves or not."""
    node.node.apply(STAGES[0].policy)
    arrivals, turns = Arrivals(), itertools.count()

    def put_in_force(stage: Stage) -> None:
        if next(turns) % 2:
            node.node.apply(stage.policy)
            return
        with node.node.client() as client:
            client.apply([Document("looks-in.yaml", stage.policy)])

    clients = [
        Client(node.home(sender), node.address("in-server", family), WEB, keeps)
        for family in (4, 6)
        for keeps in (True, False)
        for _ in range(2)
    ]
    with http_server(node.home("in-server"), WEB, remember=arrivals.see):
        tally = load(clients, arrivals, MIX, STAGES, put_in_force, COUNT // 2, PATIENCE)
    log.info("%s, %s: %s", node.redirect, sender, tally)
    assert (tally.leaked, tally.wronged) == ([], []), str(tally)
    assert tally.sent == COUNT // 2
    assert tally.forbidden > COUNT // 10
    assert tally.changes >= 3
    assert not tally.failures, "an answer that is neither the server's nor a refusal"
