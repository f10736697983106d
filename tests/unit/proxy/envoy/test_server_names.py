"""Patterns of names as the proxy compares them, and as the model does: the same."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinety.model.layer7 import Layer7, NamePattern
from kinety.proxy.envoy.server_names import CHAIN, REFUSED_CHAIN, chain_choice, expression

LABELS = st.sampled_from(["a", "b", "ab", "*", "a*", "*b", "x-1", "_a"])
PATTERNS = st.builds(
    lambda deep, labels: NamePattern(deep + ".".join(labels)),
    st.sampled_from(["", "**."]),
    st.lists(LABELS, min_size=1, max_size=4),
)
NAMES = st.lists(st.sampled_from(["a", "b", "ab", "x-1", "_a", "aab", "abb"]), min_size=1, max_size=6).map(
    ".".join
)


@given(PATTERNS, NAMES)
def test_a_pattern_matches_what_the_model_says(pattern: NamePattern, name: str) -> None:
    assert (re.fullmatch(expression(pattern), name) is not None) == (
        pattern.pattern == "*" or pattern.matches(name)
    )


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.example.com", False),
        ("*.example.com", "axexample.com", False),
        ("**.example.com", "a.b.example.com", True),
        ("**.example.com", "example.com", False),
        ("*", "anything.at.all", True),
        # Whoever says no name has none to match.
        ("*", "", False),
    ],
)
def test_labels_are_labels(pattern: str, name: str, matches: bool) -> None:
    assert (re.fullmatch(expression(NamePattern(pattern)), name) is not None) == matches


def chain(layer7: Layer7, name: str) -> str:
    """The chain that Envoy chooses for a name, by the rules of its matchers."""
    (outer,) = chain_choice(layer7).matcher_list.matchers
    chosen = outer.on_match
    while chosen.WhichOneof("on_match") == "matcher":
        matcher = chosen.matcher
        exact = matcher.matcher_tree.exact_match_map.map
        fitting = [
            each.on_match
            for each in matcher.matcher_list.matchers
            if re.fullmatch(each.predicate.single_predicate.value_match.safe_regex.regex, name)
        ]
        chosen = exact[name] if name in exact else next(iter(fitting), matcher.on_no_match)
    return str(chosen.action.name)


def chains(*patterns: str) -> Layer7:
    return Layer7(server_names=tuple(map(NamePattern, patterns)))


@pytest.mark.parametrize(
    ("patterns", "name", "chosen"),
    [
        (("a.b",), "a.b", "allowed/a.b"),
        (("a.b",), "b.b", REFUSED_CHAIN),
        (("a.b", "*.b"), "a.b", "allowed/*.b"),
        (("a.b", "*.b"), "b.b", "allowed/*.b"),
        (("a.b", "*.b", "**.b"), "a.b", "allowed/**.b"),
        (("a.b", "*.b", "**.b", "*"), "a.b", "allowed/*"),
        (("a.c", "*.b"), "a.c", "allowed/a.c"),
        (("a.c", "*.b"), "c.c", REFUSED_CHAIN),
        (("*.b",), "", REFUSED_CHAIN),
        # A name that is called as the chain of those that may not pass.
        ((REFUSED_CHAIN,), REFUSED_CHAIN, "allowed/refused"),
    ],
)
def test_a_name_has_the_chain_of_the_widest_pattern(
    patterns: tuple[str, ...], name: str, chosen: str
) -> None:
    assert chain(chains(*patterns), name) == chosen
    assert chain(chains(*reversed(patterns)), name) == chosen


@given(st.lists(PATTERNS, min_size=1, max_size=4), NAMES)
def test_what_no_pattern_names_is_refused_and_nothing_else(patterns: list[NamePattern], name: str) -> None:
    passes = any(each.pattern == "*" or each.matches(name) for each in patterns)
    assert (chain(Layer7(server_names=tuple(patterns)), name) != REFUSED_CHAIN) == passes


def test_loopback_has_no_chain() -> None:
    assert chain(Layer7(), "a.b") == CHAIN
    (only,) = chain_choice(Layer7()).matcher_list.matchers
    regex = only.predicate.not_matcher.single_predicate.value_match.safe_regex.regex
    for address in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert re.fullmatch(regex, address)
    for address in ("10.127.0.1", "128.0.0.1", "::2", "fd00::1", "1270.0.0.1"):
        assert not re.fullmatch(regex, address)
