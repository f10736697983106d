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


def chains(layer7: Layer7) -> list[str]:
    return [each.on_match.action.name for each in chain_choice(layer7).matcher_list.matchers]


def test_names_choose_a_chain_and_loopback_none() -> None:
    assert chains(Layer7(server_names=(NamePattern("a.b"),))) == [CHAIN, REFUSED_CHAIN]
    assert chains(Layer7()) == [CHAIN]
    (only,) = chain_choice(Layer7()).matcher_list.matchers
    regex = only.predicate.not_matcher.single_predicate.value_match.safe_regex.regex
    for address in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert re.fullmatch(regex, address)
    for address in ("10.127.0.1", "128.0.0.1", "::2", "fd00::1", "1270.0.0.1"):
        assert not re.fullmatch(regex, address)
