from typing import Any

import pytest

from kinety.policy.document import (
    MAX_DEPTH,
    NULL,
    Ambiguous,
    Document,
    Tree,
    path_text,
    read,
    spelled,
)
from kinety.policy.error import Finding, PolicyError


def trees(text: str) -> list[Tree]:
    return list(read(Document("p.yaml", text)))


def root(text: str) -> Any:
    (tree,) = trees(text)
    return tree.root


def refused(text: str) -> Finding:
    with pytest.raises(PolicyError) as caught:
        trees(text)
    (finding,) = caught.value.findings
    assert finding.file == "p.yaml"
    return finding


def test_every_value_knows_its_line() -> None:
    (tree,) = trees("a:\n  b:\n  - c: 1\n  - d: [x,\n      y]\n")
    assert tree.place_of(()) == (1, 1)
    assert tree.place_of(("a",)) == (1, 1)
    assert tree.place_of(("a", "b", 0)) == (3, 5)
    assert tree.place_of(("a", "b", 1, "d", 1)) == (5, 7)
    assert tree.place_of(("a", "b", 7, "d")) == (2, 3), "as near as the document goes"
    assert tree.value_at(("a", "b", 1, "d", 1)) == "y"
    assert tree.value_at(("a", "nothing")) is None


def test_documents_of_a_stream_know_their_own_lines() -> None:
    first, second = trees("---\na: 1\n---\n---\n# nothing\n---\nb: 2\n---\n~\n")
    assert (first.root, second.root) == ({"a": 1}, {"b": 2})
    assert second.place_of(("b",)) == (7, 1)


def test_json_is_yaml() -> None:
    assert root('{"a":\n\t[1, "x\\/y", true,\n\t"\\u00e9"]}') == {"a": [1, "x/y", True, "é"]}


@pytest.mark.parametrize("text", ["", "\n\n", "# a comment\n", "---\n", "---\n---\n", "~\n", "null\n"])
def test_nothing_is_nothing(text: str) -> None:
    assert trees(text) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("80", 80),
        ("-1", -1),
        ("0", 0),
        ('"80"', "80"),
        ("true", True),
        ("False", False),
        ("empire", "empire"),
        ("'yes'", "yes"),
        ("y", "y"),
        ("!!str 80", "80"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("2001:db8::1", "2001:db8::1"),
        ("2024-01-01", "2024-01-01"),
        ("v1.10", "v1.10"),
    ],
)
def test_scalars_everyone_agrees_on(text: str, value: object) -> None:
    found = root(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    ["yes", "No", "on", "OFF", "010", "0x10", "0o17", "0b1", "1_000", "22:22", "1.10", "1e3", ".inf", "+1"],
)
def test_scalars_readers_disagree_about_keep_their_spelling(text: str) -> None:
    found = root(f"a: {text}")["a"]
    assert found == Ambiguous(text)
    assert spelled(found) == text


@pytest.mark.parametrize("text", ["a:", "a: ~", "a: null"])
def test_a_blank_value_is_not_an_absent_one(text: str) -> None:
    assert root(text) == {"a": NULL}


def test_aliases_stand_for_what_was_anchored() -> None:
    assert root("a: &x [1, 2]\nb: *x\nc: &y z\nd: *y") == {"a": [1, 2], "b": [1, 2], "c": "z", "d": "z"}


@pytest.mark.parametrize(
    ("text", "line", "path", "message"),
    [
        ("a:\n\tb: 1\n", 2, "", "a tab where YAML wants spaces"),
        ("a: b: c\n", 1, "", "not YAML: mapping values are not allowed"),
        ("a: [1, 2\n", 1, "", "not YAML: did not find expected ',' or ']'"),
        ('a: "b\n', 1, "", "not YAML: found unexpected end of stream"),
        ("a: 1\nb: \x01\n", 2, "", "not a text file: it has the character 0x01"),
        ("a: \0\n", 1, "", "not a text file: it has the character 0x00"),
        ("\x7fELF\x02", 1, "", "not a text file"),
        ("a: \ud800", 1, "", "not a text file"),
        ("a:\n  b: 1\n  b: 2\n", 3, "a", "the key 'b' is given twice, first in line 2"),
        ("a:\n- 80: 1\n", 2, "a[0]", "the key 80 is not a string"),
        ("a:\n- yes: 1\n", 2, "a[0]", "the key yes is not a string"),
        ("? [a]\n: b\n", 1, "", "a key that is itself a mapping or a list"),
        ("a:\n  b: *c\n", 2, "a.b", "*c refers to nothing"),
        ("a: &a [*a]\n", 1, "a[0]", "*a refers to nothing that is complete before it"),
        ("a: &x {b: c}\nd:\n  <<: *x\n", 3, "d", "merge keys (<<) are not supported"),
        ("a: !!python/object/apply:os.system [id]\n", 1, "a", "the YAML tag"),
        ("a: !!binary aGVsbG8=\n", 1, "a", "the YAML tag"),
        ("a: b\n...\nc\n", 3, "", "not YAML"),
    ],
)
def test_bad_text_is_refused_where_it_is(text: str, line: int, path: str, message: str) -> None:
    found = refused(text)
    assert (found.line, found.path) == (line, path)
    assert message in found.message


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_nesting_is_limited_without_recursion(opening: str) -> None:
    assert f"nested deeper than {MAX_DEPTH} levels" in refused(opening * 100_000).message


def test_an_alias_bomb_is_refused_before_it_goes_off() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    found = refused("\n".join(lines))
    assert "counting what aliases stand for" in found.message
    assert found.line <= 7


def test_aliases_of_scalars_and_anchors_do_not_cross_documents() -> None:
    assert "*x refers to nothing" in refused("a: &x 1\n---\nb: *x\n").message


def test_paths_for_people() -> None:
    assert (
        path_text(("spec", "ingress", 0, "matchLabels", "k8s:app"))
        == 'spec.ingress[0].matchLabels["k8s:app"]'
    )
    assert path_text(("items", 3)) == "items[3]"
    assert path_text(()) == ""
