"""Which connections of a listener go on: by where they go, and by the server name that TLS says.

The choice is made before Envoy has read anything from the connection (it only peeked), so one that is closed
here is reset. Filter chains' own matches would not do: ``*.example.com`` is any depth there, and one label in
policies.

Each name that may pass has a filter chain of its own. When names change, Envoy keeps the connections of
chains that stay, and ends those of a chain that goes: of a name that may pass no more (decision 0045).
"""

import re
from collections.abc import Collection
from typing import TypeAlias

from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2
from google.protobuf import wrappers_pb2
from google.protobuf.message import Message
from xds.core.v3 import extension_pb2
from xds.type.matcher.v3 import matcher_pb2, regex_pb2, string_pb2

from kinety.model.layer7 import Layer7, NamePattern
from kinety.proxy.envoy.packing import packed

#: Names of filter chains: of all that may pass, where names are nothing to the rules; of what may not.
CHAIN, REFUSED_CHAIN = "allowed", "refused"
#: Nobody is redirected on the way there: who asks for it has connected to the listener itself, and would go
#: round in circles.
_LOOPBACK = r"127\..*|::1|::ffff:127\..*"

_Matchers: TypeAlias = matcher_pb2.Matcher.MatcherList
_Predicate: TypeAlias = matcher_pb2.Matcher.MatcherList.Predicate
_OnMatch: TypeAlias = matcher_pb2.Matcher.OnMatch
_SERVER_NAME = network_inputs_pb2.ServerNameInput()


def chain_choice(layer7: Layer7) -> matcher_pb2.Matcher:
    """The filter chain of a connection; none, which resets it, when it is for the node's loopback."""
    elsewhere = _Predicate(not_matcher=_whole(network_inputs_pb2.DestinationIPInput(), _LOOPBACK))
    names = layer7.server_names
    chosen = _OnMatch(matcher=_by_name(names)) if names else _to(CHAIN)
    return _list(_Matchers.FieldMatcher(predicate=elsewhere, on_match=chosen))


def chain_of(pattern: NamePattern) -> str:
    """The name of the chain of connections that say such a name."""
    return f"{CHAIN}/{pattern.pattern}"


def _by_name(patterns: Collection[NamePattern]) -> matcher_pb2.Matcher:
    """The chain of the widest pattern that fits: that a narrower one beside it goes, ends no connection."""
    exact = {each.pattern: _to(chain_of(each)) for each in patterns if "*" not in each.pattern}
    wide = sorted((each for each in patterns if "*" in each.pattern), key=_breadth)
    otherwise = _to(REFUSED_CHAIN)
    if exact:
        found = matcher_pb2.Matcher(on_no_match=otherwise)
        found.matcher_tree.input.CopyFrom(_input(_SERVER_NAME))
        for name, chosen in exact.items():
            found.matcher_tree.exact_match_map.map[name].CopyFrom(chosen)
        if not wide:
            return found
        otherwise = _OnMatch(matcher=found)
    fitting = (
        _Matchers.FieldMatcher(predicate=_whole(_SERVER_NAME, expression(each)), on_match=_to(chain_of(each)))
        for each in wide
    )
    return _list(*fitting, otherwise=otherwise)


def _breadth(pattern: NamePattern) -> tuple[bool, bool, str]:
    """Sorts patterns, wide ones first."""
    return pattern.pattern != "*", not pattern.pattern.startswith("**."), pattern.pattern


def expression(pattern: NamePattern) -> str:
    """A pattern as a regular expression of whole names, in lower case and without the final dot."""
    if pattern.pattern == "*":
        return ".+"
    tail = re.escape(pattern.pattern.removeprefix("**.")).replace(r"\*", "[^.]*")
    return rf"(?:[^.]+\.)+{tail}" if pattern.pattern.startswith("**.") else tail


def _whole(what: Message, regex: str) -> _Predicate:
    return _Predicate(
        single_predicate=_Predicate.SinglePredicate(
            input=_input(what),
            value_match=string_pb2.StringMatcher(
                safe_regex=regex_pb2.RegexMatcher(google_re2=regex_pb2.RegexMatcher.GoogleRE2(), regex=regex)
            ),
        )
    )


def _input(what: Message) -> extension_pb2.TypedExtensionConfig:
    return extension_pb2.TypedExtensionConfig(name=what.DESCRIPTOR.name, typed_config=packed(what))


def _to(chain: str) -> _OnMatch:
    named = packed(wrappers_pb2.StringValue(value=chain))
    return _OnMatch(action=extension_pb2.TypedExtensionConfig(name=chain, typed_config=named))


def _list(
    *matchers: matcher_pb2.Matcher.MatcherList.FieldMatcher, otherwise: _OnMatch | None = None
) -> matcher_pb2.Matcher:
    return matcher_pb2.Matcher(matcher_list=_Matchers(matchers=matchers), on_no_match=otherwise)
