"""Answers as JSON: groups by name or by who is missing, and content in words."""

from dataclasses import replace

from kinety.api.decode import decode, encode
from kinety.api.insight import VerdictChange, VerdictRow
from kinety.explain.answer import difference_value, matrix_value
from kinety.explain.difference import difference
from kinety.explain.matrix import matrix
from kinety.model.layer7 import HttpRule, Layer7
from kinety.model.rule import Policy
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, PolicyUpserted
from tests.unit.plan.saying import cidr, endpoint, has, policy, rule, tcp


def asking(path: str) -> Policy:
    """A policy that lets requests for a path from one endpoint to another."""
    plain = rule(has(app="a"), [has(app="b")], [tcp(80)])
    return policy("p", replace(plain, layer7=Layer7(http=(HttpRule("GET", path),))))


def engine_of(*policies: Policy) -> Engine:
    engine = Engine()
    apps = enumerate(("a", "b", "c"), 1)
    engine.change(
        [
            *(EndpointUpserted(endpoint(number, app=app)) for number, app in apps),
            *map(PolicyUpserted, policies),
        ]
    )
    return engine


def test_other_content_is_another_verdict() -> None:
    engine = engine_of(asking("/old"))
    (value,) = difference_value(engine, difference(engine, [PolicyUpserted(asking("/new"))]))
    assert (value["before"], value["before_content"]) == ("redirect", "GET /old")
    assert (value["after"], value["after_content"]) == ("redirect", "GET /new")
    assert value["traffic"]["text"] == "TCP/80"
    assert encode(decode(VerdictChange, value)) == value


def test_a_group_of_more_than_half_is_told_by_who_is_missing() -> None:
    engine = engine_of()
    shut = policy("p", rule(has(app="a"), [has(app="b"), cidr("8.8.0.0/16")]))
    (value,) = difference_value(engine, difference(engine, [PolicyUpserted(shut)]))
    assert value["peers"] == {"names": ["default/e2", "8.8.0.0/16", "host"], "all_but": True}
    opened = difference_value(
        engine, difference(engine, [PolicyUpserted(policy("p", rule(has(app="a"), [])))])
    )
    assert opened[0]["peers"] == {"names": ["host"], "all_but": True}


def test_rows_have_the_shape_of_the_api() -> None:
    engine = engine_of(asking("/x"))
    values = matrix_value(engine, matrix(engine))
    assert [encode(decode(VerdictRow, value)) for value in values] == values
    assert [value["content"] for value in values if value["verdict"] == "redirect"] == ["GET /x"]
