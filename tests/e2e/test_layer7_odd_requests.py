"""Requests that are made to be misread, as in tests/netns/test_envoy_odd_requests.py, by every redirect."""

from collections.abc import Iterator

import pytest

from tests.e2e.layer7_node import NEEDS, REDIRECTS, WEB, WITHIN, Layer7Node, Route, layer7_node, policy
from tests.e2e.real_node import connect
from tests.netns.envoy_node import answer
from tests.netns.odd_request import TABLE
from tests.netns.witness import Witness

pytestmark = pytest.mark.needs(*NEEDS)

#: What the table is about, at either end.
RULES = 'rules: {http: [{method: GET, path: "/public/.*"}, {method: POST, path: /public/p}]}'


@pytest.fixture(scope="module", params=REDIRECTS)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layer7Node]:
    with layer7_node(tmp_path_factory.mktemp("odd"), request.param) as made:
        made.node.apply("---".join(policy(end, RULES) for end in ("egress", "ingress")))
        yield made


@pytest.mark.parametrize("route", WITHIN, ids=str)
def test_the_server_gets_what_was_judged(node: Layer7Node, route: Route) -> None:
    """Once, or twice where both ends look: what the first lets through the second reads in no other way."""
    wrong, where = [], node.address(route.server, 4)
    with Witness(node.home(route.server), WEB, addresses=(where,)) as witness:
        for odd in (each for table in TABLE.values() for each in table):
            witness.seen.clear()
            with connect(node.home(route.client), where, WEB) as connection:
                connection.sendall(odd.sent)
                statuses = tuple(answer(connection)[0] for _ in odd.statuses)
            arrived = tuple((seen.head, seen.body) for seen in witness.seen)
            if (statuses, arrived) != (odd.statuses, odd.arrives):
                wrong.append((odd.what, statuses, arrived))
    assert not wrong
