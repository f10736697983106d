"""Rules as routes: their order, their names, and what is refused before Envoy hears of it."""

import pytest
from envoy.config.route.v3 import route_components_pb2

from kinety.model.header import MOST_MISMATCHES
from kinety.model.layer7 import HeaderMatch, HttpRule, Layer7, Layer7Id, Mismatch
from kinety.proxy.envoy.routes import denial, route_message

ID = Layer7Id("a")


def routes(*rules: HttpRule, policies: tuple[str, ...] = ()) -> list[route_components_pb2.Route]:
    message = route_message(ID, Layer7(http=rules), policies)
    assert message.name == ID
    (host,) = message.virtual_hosts
    assert list(host.domains) == ["*"]
    return list(host.routes)


def names(*rules: HttpRule) -> list[str]:
    return [each.name for each in routes(*rules)]


def allowed(*rules: HttpRule) -> list[route_components_pb2.Route]:
    return [each for each in routes(*rules) if each.HasField("route")]


def matchers(route: route_components_pb2.Route) -> dict[str, str]:
    """What a route wants of headers: expressions after a ~, exact values as they are."""
    found = {}
    for each in route.match.headers:
        regex = each.string_match.safe_regex.regex
        found[each.name] = f"~{regex}" if regex else each.string_match.exact
    return found


def test_without_rules_nothing_passes() -> None:
    assert [each.direct_response.status for each in routes() if not each.match.headers] == [403, 403]
    assert not allowed()


def test_the_last_routes_refuse_everything_connect_too() -> None:
    *_, every, connect = routes(HttpRule(), policies=("b", "a"))
    assert (every.match.prefix, every.match.WhichOneof("path_specifier")) == ("", "prefix")
    assert connect.match.WhichOneof("path_specifier") == "connect_matcher"
    for each in (every, connect):
        assert each.direct_response.status == 403
        assert each.direct_response.body.inline_string == "Access denied by a, b\r\n"


def test_another_answer_can_be_given() -> None:
    message = route_message(ID, Layer7(), ("a",), "no\n")
    assert message.virtual_hosts[0].routes[-1].direct_response.body.inline_string == "no\n"
    assert denial(()) == "Access denied\r\n"


def test_of_many_policies_some_are_named() -> None:
    assert (
        denial(f"p{n}" for n in range(10)) == "Access denied by p0, p1, p2, p3, p4, p5, p6, p7 and 2 more\r\n"
    )


def test_everything_in_a_rule_has_to_match() -> None:
    rule = HttpRule("PUT", "/a/.*", "h", (HeaderMatch("X-A", "1"), HeaderMatch("Host", "h")))
    (route,) = allowed(rule)
    assert matchers(route) == {":method": "PUT", ":path": "~/a/.*", ":authority": "h", "x-a": "1"}
    assert len(route.match.headers) == 5
    assert [matchers(each) for each in allowed(HttpRule())] == [{":method": "~GET|HEAD|OPTIONS"}, {}]


def test_paths_are_guarded_only_where_a_rule_names_one() -> None:
    guards = [each for each in routes(HttpRule(path="/a")) if each.name == "ambiguous"]
    assert [each.match.headers[0].name for each in guards] == [":authority", ":authority", ":path"]
    assert names(HttpRule("GET")).count("ambiguous") == 2


def test_headers_that_look_like_those_of_rules_are_guarded() -> None:
    def guarded(*names: str) -> list[str]:
        found = routes(HttpRule(headers=tuple(map(HeaderMatch, names))))
        guards = [each for each in found if each.name == "ambiguous" and each.direct_response.status == 400]
        return [each.match.headers[0].name for each in guards if each.match.headers[0].present_match]

    assert guarded("Host", "Cookie") == []
    assert guarded("X-Key") == ["x_key"]
    assert guarded("X-a-B", "x-A-b") == ["x-a_b", "x_a-b", "x_a_b"]
    with pytest.raises(ValueError, match="has 8 words"):
        guarded("a-b-c-d-e-f-g-h")


@pytest.mark.parametrize("text", ["GET", "/a/b_c-d", "h:80"])
def test_what_is_no_expression_is_compared(text: str) -> None:
    assert matchers(allowed(HttpRule(path=text))[0])[":path"] == text


@pytest.mark.parametrize("text", ["GE.", "/a(b)?", "a|b", "[a]", "a\\.b", "a$", "^a", "a*", "a+", "a b"])
def test_expressions_stay_expressions(text: str) -> None:
    assert matchers(allowed(HttpRule(path=text))[0])[":path"] == f"~{text}"


def test_mismatches_make_a_route_for_each_combination_the_best_first() -> None:
    headers = (
        HeaderMatch("X-A", "1", mismatch=Mismatch.REPLACE),
        HeaderMatch("X-B"),
        HeaderMatch("X-C", "3", mismatch=Mismatch.DELETE),
    )
    found = allowed(HttpRule("GET", headers=headers))
    assert [each.name for each in found] == ["allow/0/==", "note/0/=!", "note/0/!=", "note/0/!!"]
    assert [matchers(each).keys() - {":method"} for each in found] == [
        {"x-a", "x-b", "x-c"},
        {"x-a", "x-b"},
        {"x-b", "x-c"},
        {"x-b"},
    ]
    worst = found[-1]
    assert list(worst.request_headers_to_remove) == ["X-A", "X-C"]
    assert [(each.header.key, each.header.value) for each in worst.request_headers_to_add] == [("X-A", "1")]
    assert not found[0].request_headers_to_remove
    assert not found[0].request_headers_to_add


def test_rules_that_change_less_come_first_and_keep_their_number() -> None:
    logged = tuple(HeaderMatch(name, mismatch=Mismatch.LOG) for name in "AB")
    two, one = HttpRule("GET", headers=logged), HttpRule("GET", headers=logged[:1])
    found = [each.name for each in allowed(two, one, HttpRule("GET"))]
    assert [name.split("/")[1] for name in found] == ["2", "1", "1", "0", "0", "0", "0"]


def test_percent_signs_are_no_commands() -> None:
    rule = HttpRule("GET", headers=(HeaderMatch("A", "%REQ(b)%", mismatch=Mismatch.ADD),))
    assert allowed(rule)[1].request_headers_to_add[0].header.value == "%%REQ(b)%%"


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (HeaderMatch("A", secret=("n", "s")), "secrets cannot be read"),
        (HeaderMatch("Host", "h", mismatch=Mismatch.REPLACE), "cannot be changed"),
        (HeaderMatch("content-length", mismatch=Mismatch.DELETE), "cannot be changed"),
        (HeaderMatch("X-Kinety-Forwarded-Proto", "h", mismatch=Mismatch.ADD), "cannot be changed"),
    ],
)
def test_what_envoy_cannot_do_is_refused(header: HeaderMatch, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        routes(HttpRule(headers=(header,)))


def test_too_many_mismatches_are_refused() -> None:
    headers = tuple(HeaderMatch(f"H{n}", mismatch=Mismatch.LOG) for n in range(MOST_MISMATCHES + 1))
    assert len(allowed(HttpRule("GET", headers=headers[1:]))) == 2**MOST_MISMATCHES
    with pytest.raises(ValueError, match="7 headers that may mismatch"):
        routes(HttpRule(headers=headers))


def retried(rule: HttpRule) -> list[tuple[str, bool]]:
    """Of each route, what it wants of the method, and whether unanswered requests are tried again."""
    found = []
    for each in allowed(rule):
        events = set(each.route.retry_policy.retry_on.split(","))
        assert events - {"reset"} == {"connect-failure", "refused-stream", "reset-before-request"}
        wanted = [matcher for matcher in each.match.headers if matcher.name == ":method"]
        texts = [one.string_match.exact or one.string_match.safe_regex.regex for one in wanted]
        found.append((" ".join(texts), "reset" in events))
    return found


def test_only_what_changes_nothing_is_asked_twice() -> None:
    assert retried(HttpRule("GET")) == [("GET", True)]
    assert retried(HttpRule("POST")) == [("POST", False)]
    assert retried(HttpRule("PUT")) == [("PUT", False)]
    assert retried(HttpRule()) == [("GET|HEAD|OPTIONS", True), ("", False)]
    assert retried(HttpRule("GET|PUT")) == [("GET|PUT GET|HEAD|OPTIONS", True), ("GET|PUT", False)]


def test_nothing_is_timed() -> None:
    (route,) = allowed(HttpRule("GET"))
    assert route.route.HasField("timeout")
    assert route.route.timeout.ToTimedelta().total_seconds() == 0
