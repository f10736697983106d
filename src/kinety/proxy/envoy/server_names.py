"""Which connections of a listener go on: by where they go, and by the server name that TLS says.

The choice is made before Envoy has read anything from the connection (it only peeked), so one that is closed
here is reset. Filter chains' own matches would not do: ``*.example.com`` is any depth there, and one label in
policies.
"""

import re
from typing import TypeAlias

from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2
from google.protobuf import wrappers_pb2
from google.protobuf.message import Message
from xds.core.v3 import extension_pb2
from xds.type.matcher.v3 import matcher_pb2, regex_pb2, string_pb2

from kinety.model.layer7 import Layer7, NamePattern
from kinety.proxy.envoy.packing import packed

#: Names of filter chains.
CHAIN, REFUSED_CHAIN = "allowed", "refused"
#: Nobody is redirected on the way there: who asks for it has connected to the listener itself, and would go
#: round in circles.
_LOOPBACK = r"127\..*|::1|::ffff:127\..*"

_Matchers: TypeAlias = matcher_pb2.Matcher.MatcherList
_Predicate: TypeAlias = matcher_pb2.Matcher.MatcherList.Predicate
_FieldMatcher: TypeAlias = matcher_pb2.Matcher.MatcherList.FieldMatcher


def chain_choice(layer7: Layer7) -> matcher_pb2.Matcher:
    """The filter chain of a connection; none, which resets it, when it is for the node's loopback."""
    elsewhere = _Predicate(not_matcher=_whole(network_inputs_pb2.DestinationIPInput(), _LOOPBACK))
    if not layer7.server_names:
        return _list(_on(elsewhere, CHAIN))
    names = "|".join(f"(?:{expression(each)})" for each in layer7.server_names)
    named = _whole(network_inputs_pb2.ServerNameInput(), names)
    both = _Predicate(and_matcher=_Predicate.PredicateList(predicate=[elsewhere, named]))
    return _list(_on(both, CHAIN), _on(elsewhere, REFUSED_CHAIN))


def expression(pattern: NamePattern) -> str:
    """A pattern as a regular expression of whole names, in lower case and without the final dot."""
    if pattern.pattern == "*":
        return ".+"
    tail = re.escape(pattern.pattern.removeprefix("**.")).replace(r"\*", "[^.]*")
    return rf"(?:[^.]+\.)+{tail}" if pattern.pattern.startswith("**.") else tail


def _whole(what: Message, regex: str) -> _Predicate:
    return _Predicate(
        single_predicate=_Predicate.SinglePredicate(
            input=extension_pb2.TypedExtensionConfig(name=what.DESCRIPTOR.name, typed_config=packed(what)),
            value_match=string_pb2.StringMatcher(
                safe_regex=regex_pb2.RegexMatcher(google_re2=regex_pb2.RegexMatcher.GoogleRE2(), regex=regex)
            ),
        )
    )


def _on(predicate: _Predicate, chain: str) -> _FieldMatcher:
    action = extension_pb2.TypedExtensionConfig(
        name=chain, typed_config=packed(wrappers_pb2.StringValue(value=chain))
    )
    return _FieldMatcher(predicate=predicate, on_match=matcher_pb2.Matcher.OnMatch(action=action))


def _list(*matchers: _FieldMatcher) -> matcher_pb2.Matcher:
    return matcher_pb2.Matcher(matcher_list=_Matchers(matchers=matchers))
