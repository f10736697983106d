import pytest

from kinety.explain.content import Fate, Request, content_text, fate_of
from kinety.model.layer7 import HeaderMatch, HttpRule, Layer7, Mismatch, NamePattern
from kinety.policy import regex

GETS = Layer7(http=(HttpRule("GET", "/v1/.*"), HttpRule("PUT|POST", "", "api[.]example")))


@pytest.mark.parametrize(
    ("method", "path", "fate"),
    [
        ("GET", "/v1/x", Fate.PASSES),
        ("GET", "/v2/x", Fate.REFUSED),
        ("GE", "/v1/x", Fate.REFUSED),
        ("PUT", "/v2", Fate.DEPENDS),
        ("DELETE", None, Fate.REFUSED),
        (None, "/v1/x", Fate.DEPENDS),
        ("GET", None, Fate.DEPENDS),
    ],
)
def test_requests(method: str | None, path: str | None, fate: Fate) -> None:
    assert fate_of(GETS, Request(method, path)) is fate


@pytest.mark.parametrize("engine", [True, False])
def test_expressions_of_the_proxys_own_kind(monkeypatch: pytest.MonkeyPatch, engine: bool) -> None:
    letters = Layer7(http=(HttpRule(path="/[[:alpha:]]+"),))
    if not engine:
        monkeypatch.setattr(regex, "re2", None)
    assert fate_of(letters, Request("GET", "/x")) is (Fate.PASSES if engine else Fate.DEPENDS)
    assert fate_of(letters, Request("GET", "/1")) is (Fate.REFUSED if engine else Fate.DEPENDS)


def test_what_only_the_proxy_can_tell() -> None:
    headers = (HeaderMatch("x-token"),)
    assert fate_of(Layer7(http=(HttpRule("GET", headers=headers),)), Request("GET", "/")) is Fate.DEPENDS
    assert fate_of(Layer7(http=(HttpRule("GET", headers=headers),)), Request("PUT", "/")) is Fate.REFUSED


@pytest.mark.parametrize(
    ("rule", "fate"),
    [
        (HttpRule(host="api[.]example"), Fate.PASSES),
        (HttpRule(host="[.]example"), Fate.REFUSED),
        (HttpRule(headers=(HeaderMatch("X-Rank"),)), Fate.PASSES),
        (HttpRule(headers=(HeaderMatch("X-Rank", "moff"),)), Fate.PASSES),
        (HttpRule(headers=(HeaderMatch("x-rank", "Moff"),)), Fate.REFUSED),
        (HttpRule(headers=(HeaderMatch("x-token"),)), Fate.REFUSED),
        (HttpRule(headers=(HeaderMatch("x-token", "42", mismatch=Mismatch.ADD),)), Fate.PASSES),
        (HttpRule(headers=(HeaderMatch("x-rank", secret=("a", "b")),)), Fate.DEPENDS),
        (HttpRule(headers=(HeaderMatch("x-token", secret=("a", "b")),)), Fate.REFUSED),
    ],
)
def test_hosts_and_headers_that_are_known(rule: HttpRule, fate: Fate) -> None:
    request = Request("GET", "/", "api.example", {"x-rank": "moff"})
    assert fate_of(Layer7(http=(rule,)), request) is fate


def test_rules_about_other_content_let_no_request_through() -> None:
    names = Layer7(dns=(NamePattern("*.example"),))
    assert fate_of(names, Request("GET", "/")) is Fate.REFUSED
    assert content_text(names) == "DNS questions for *.example"
    assert content_text(GETS) == "GET /v1/.*, PUT|POST any path at api[.]example"
    assert content_text(Layer7()) == "nothing"
