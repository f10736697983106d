"""The table of routes, as the server and the command line rely on it."""

import re

from kinety.api import types
from kinety.api.routes import EVENT_PARAMETERS, REFUSALS, ROUTES
from kinety.api.types import EVENT_KINDS
from kinety.cli.monitor import monitor


def test_a_route_is_there_once() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert len({route.operation for route in ROUTES}) == len(ROUTES)


def test_every_refusal_has_a_meaning() -> None:
    assert {status for route in ROUTES for status in route.refusals} <= REFUSALS.keys()


def test_what_takes_a_body_says_how_it_refuses_one() -> None:
    for route in ROUTES:
        if route.method in ("GET", "DELETE"):
            assert route.request is None
        if route.request is not None:
            assert {400, 413, 415} <= set(route.refusals)
        if re.search("{", route.path) and route.method in ("GET", "DELETE"):
            assert 404 in route.refusals


def test_an_answer_is_empty_exactly_where_the_status_says_so() -> None:
    assert all((route.answer is None) == (route.success == 204) for route in ROUTES)


def test_the_monitor_has_every_filter() -> None:
    options = {option.name for option in monitor.params} | {"kind"}
    assert {parameter.name for parameter in EVENT_PARAMETERS} <= options
    meaning = next(parameter.meaning for parameter in EVENT_PARAMETERS if parameter.name == "kind")
    assert all(kind in meaning for kind in EVENT_KINDS)
    assert all(kind in (types.Event.__doc__ or "") for kind in EVENT_KINDS)
