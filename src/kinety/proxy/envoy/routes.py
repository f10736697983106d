"""Rules about HTTP as routes of Envoy's, of which the first that matches decides.

1. What servers may read differently than the rules is refused with 400: several hosts at once, or one with
   somebody's name before it; paths, where rules name paths; headers that are nearly those that rules name.
2. One route for each rule, which passes requests on; two, where it may be of methods that change nothing and
   of others. A rule about headers that may mismatch is several times as many, the ones that want every header
   right first. Rules that change nothing come before those that do, so that what is allowed as it is passes
   unchanged.
3. Everything else is refused with 403.

Expressions match whole values. A path is judged with its query.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from google.protobuf import duration_pb2, wrappers_pb2

from kinety.model.header import MOST_MISMATCHES
from kinety.model.layer7 import HeaderMatch, HttpRule, Layer7, Layer7Id, Mismatch
from kinety.proxy.envoy.header import judged_name, lookalikes, may_change
from kinety.proxy.envoy.tellers import QUIET

#: Names of routes: of requests that pass with every header right, or not; that the path or the rules refuse.
NOTED, AMBIGUOUS, DENIED = "note", "ambiguous", "deny"
#: The cluster of every listener: wherever the client wanted to go.
ORIGINAL_DESTINATION = "original-destination"
#: Names in an answer.
_MOST_NAMES = 8
#: What normalisation leaves, and servers are known to read differently: escaped slashes, ``..;`` (parameters
#: are cut off first), dots and slashes that are escaped twice, overlong UTF-8, the end of C's strings.
_AMBIGUOUS = (
    r"[^?]*(?:%2[fF]|%5[cC]|/(?:\.|%2[eE]){1,2}(?:;|%3[bB])|%25(?:2[eEfF]|5[cC])|%[cC][01]|%00)(?:.|\n)*"
)
#: Of several Host headers Envoy makes one, with commas; whoever stands before an @ may be taken for the host.
_NO_HOST = ",@"
#: What an expression matches that is made of nothing else is known without an engine for them.
_LITERAL = re.compile(r"[-/_,:=0-9A-Za-z]*")
#: What is tried again: requests that no server has seen and, of methods that change nothing, those that a
#: server may have seen and did not answer, since a connection that is shared can end at any time.
_UNSEEN = "connect-failure,refused-stream,reset-before-request"
_UNANSWERED = f"{_UNSEEN},reset"
_SAFE = "GET|HEAD|OPTIONS"


@dataclass(frozen=True, slots=True)
class _Variant:
    """A rule with each of its headers right, or with a mismatch that is put up with."""

    matchers: tuple[route_components_pb2.HeaderMatcher, ...] = ()
    added: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()
    #: One letter a header that may mismatch: ``=`` right, ``!`` not.
    found: str = ""


def route_message(
    id: Layer7Id, layer7: Layer7, policies: Iterable[str], denied_body: str | None = None
) -> route_pb2.RouteConfiguration:
    """Routes of a listener. ``denied_body`` answers refused requests instead of the policies' names.

    Raises ValueError for rules that Envoy cannot carry out.
    """
    host = route_components_pb2.VirtualHost(name="every", domains=["*"])
    host.routes.extend(_guards(layer7))
    numbered = sorted(enumerate(layer7.http), key=lambda each: _changes(each[1]))
    for number, rule in numbered:
        for variant in _variants(rule):
            host.routes.extend(_allowed(number, rule.method, variant))
    body = denied_body if denied_body is not None else denial(policies)
    host.routes.extend(_denied(body))
    return route_pb2.RouteConfiguration(
        name=id,
        virtual_hosts=[host],
        validate_clusters=wrappers_pb2.BoolValue(value=False),
        # Envoy refuses more than 4 KiB that nobody asked for.
        max_direct_response_body_size_bytes=wrappers_pb2.UInt32Value(value=max(4096, len(body.encode()))),
    )


def denial(policies: Iterable[str]) -> str:
    """What a refused request is answered: which policies there are that did not allow it, or some of many."""
    names = sorted(policies)
    if not names:
        return "Access denied\r\n"
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"Access denied by {', '.join(names[:_MOST_NAMES])}{more}\r\n"


def _guards(layer7: Layer7) -> Iterator[route_components_pb2.Route]:
    """What is refused whatever the rules let through."""
    for character in _NO_HOST:
        matcher = _matcher(":authority", string_pb2.StringMatcher(contains=character))
        yield _refusal(AMBIGUOUS, 400, "Ambiguous host\r\n", [matcher])
    if any(rule.path for rule in layer7.http):
        yield _refusal(AMBIGUOUS, 400, "Ambiguous path\r\n", [_whole(":path", _AMBIGUOUS)])
    named = {header.name for rule in layer7.http for header in rule.headers}
    for each in sorted({each for name in named for each in lookalikes(name)}):
        matcher = route_components_pb2.HeaderMatcher(name=each, present_match=True)
        yield _refusal(AMBIGUOUS, 400, "Ambiguous header\r\n", [matcher])


def _changes(rule: HttpRule) -> int:
    return sum(each.mismatch is not None for each in rule.headers)


def _variants(rule: HttpRule) -> Iterator[_Variant]:
    """The rule once for each combination of headers that are right and not, the best first."""
    if (count := _changes(rule)) > MOST_MISMATCHES:
        raise ValueError(f"{count} headers that may mismatch in one rule; at most {MOST_MISMATCHES}")
    wanted = ((":method", rule.method), (":path", rule.path), (":authority", rule.host))
    bare = _Variant(tuple(_whole(name, value) for name, value in wanted if value))
    for chosen in product(*map(_outcomes, rule.headers)):
        found = bare
        for each in chosen:
            found = _Variant(
                found.matchers + each.matchers,
                found.added + each.added,
                found.removed + each.removed,
                found.found + each.found,
            )
        yield found


def _outcomes(header: HeaderMatch) -> tuple[_Variant, ...]:
    """A header that is right and, where that is put up with, one that is not."""
    if header.secret is not None:
        raise ValueError(
            f"the header {header.name} has its value in a secret, and secrets cannot be read yet"
        )
    right = _Variant((_header(header),))
    name, mismatch = header.name, header.mismatch
    if mismatch is None:
        return (right,)
    if mismatch is not Mismatch.LOG and not may_change(name):
        raise ValueError(
            f"the header {name} cannot be changed: it says where a message ends, or where it goes"
        )
    added = ((name, header.value or ""),) if mismatch in (Mismatch.ADD, Mismatch.REPLACE) else ()
    removed = (name,) if mismatch in (Mismatch.DELETE, Mismatch.REPLACE) else ()
    return replace(right, found="="), _Variant((), added, removed, "!")


def _header(header: HeaderMatch) -> route_components_pb2.HeaderMatcher:
    name = judged_name(header.name)
    if header.value is None:
        return route_components_pb2.HeaderMatcher(name=name, present_match=True)
    return _matcher(name, string_pb2.StringMatcher(exact=header.value))


def _whole(name: str, regex: str) -> route_components_pb2.HeaderMatcher:
    if _LITERAL.fullmatch(regex):
        return _matcher(name, string_pb2.StringMatcher(exact=regex))
    return _matcher(name, string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=regex)))


def _matcher(name: str, value: string_pb2.StringMatcher) -> route_components_pb2.HeaderMatcher:
    return route_components_pb2.HeaderMatcher(name=name, string_match=value)


def _allowed(number: int, method: str, variant: _Variant) -> Iterator[route_components_pb2.Route]:
    """A variant of a rule: for methods that change nothing, for others, or both in this order."""
    literal = _LITERAL.fullmatch(method) and method
    if not literal:
        yield _forwarded(number, variant, (_whole(":method", _SAFE),), _UNANSWERED)
    yield _forwarded(number, variant, (), _UNANSWERED if literal in _SAFE.split("|") else _UNSEEN)


def _forwarded(
    number: int, variant: _Variant, more: Iterable[route_components_pb2.HeaderMatcher], retry_on: str
) -> route_components_pb2.Route:
    kind = NOTED if "!" in variant.found else QUIET
    retries = route_components_pb2.RetryPolicy(
        retry_on=retry_on, num_retries=wrappers_pb2.UInt32Value(value=2)
    )
    route = route_components_pb2.Route(
        name=f"{kind}/{number}/{variant.found}",
        match=route_components_pb2.RouteMatch(prefix="", headers=[*variant.matchers, *more]),
        route=route_components_pb2.RouteAction(
            cluster=ORIGINAL_DESTINATION, timeout=duration_pb2.Duration(), retry_policy=retries
        ),
        request_headers_to_remove=variant.removed,
    )
    for name, value in variant.added:
        option = route.request_headers_to_add.add(
            append_action=base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
        )
        # A percent sign begins a command of Envoy's.
        option.header.key, option.header.value = name, value.replace("%", "%%")
    return route


def _denied(body: str) -> Iterator[route_components_pb2.Route]:
    """Everything else; CONNECT, which no other route matches, too."""
    yield _refusal(DENIED, 403, body, ())
    connect = _refusal(DENIED, 403, body, ())
    connect.match.ClearField("path_specifier")
    connect.match.connect_matcher.SetInParent()
    yield connect


def _refusal(
    name: str, status: int, body: str, matchers: Iterable[route_components_pb2.HeaderMatcher]
) -> route_components_pb2.Route:
    return route_components_pb2.Route(
        name=name,
        match=route_components_pb2.RouteMatch(prefix="", headers=matchers),
        direct_response=route_components_pb2.DirectResponseAction(
            status=status, body=base_pb2.DataSource(inline_string=body)
        ),
    )
