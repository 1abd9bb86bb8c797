"""YAML with positions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.audit.yaml_nodes import BadYamlError, parse_yaml

TEXT = """\
one: &base
  a: 1
  b: [x, 'y', ~]
two:
  <<: *base
  a: "2"
three:
  <<: [*base, {c: yes}]
"""


def test_values_have_their_lines():
    node = parse_yaml(TEXT)
    assert node is not None
    assert node.at("one", "a").text == "1"
    assert [(one.text, one.line) for one in node.at("one", "b").items] == [("x", 3), ("y", 3), (None, 3)]
    assert (node.at("two", "a").text, node.at("two", "a").line) == ("2", 6)
    assert node.at("two", "b").line == 3
    assert node.at("three", "c").is_true
    assert node.at("three", "a").text == "1"
    assert node.at("none", "at", "all") is None
    assert node.at("one", "a").pairs == {}
    assert node.at("one").items == ()
    assert node.at("one").is_mapping
    assert node.at("one").text is None


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: [1", 1), ("a: b: c", 1), ("- 1\nb: 2", 2), ("a: 1\n---\nb: 2\n", 2), ("\t- x", 1), ("a: *none", 1), ("\x07", 0)],
)  # fmt: skip
def test_what_is_no_yaml_is_told_with_its_line(text, line):
    with pytest.raises(BadYamlError) as caught:
        parse_yaml(text)
    assert caught.value.line == line


def test_nothing_is_nothing():
    assert parse_yaml("") is None
    assert parse_yaml("# a remark\n") is None


def test_deep_and_large_files_end():
    for text in ("[" * 100_000, "a: 1\n" * 600_000):
        with pytest.raises(BadYamlError):
            parse_yaml(text)


def test_aliases_that_grow_cost_nothing():
    lines = ["a0: &a0 {k: v}"] + [
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)
    ]
    node = parse_yaml("\n".join(lines))
    assert node is not None
    assert set(node.at("a11").pairs) <= {"k"}
    assert parse_yaml("a: &a {<<: *a, b: 1}").at("a", "b").text == "1"


@given(st.text(alphabet="ab:-[]{}&*<>|#'\"\n \t,?!%@", max_size=40))
def test_any_text_is_yaml_or_none(text):
    try:
        node = parse_yaml(text)
    except BadYamlError:
        return
    if node:
        assert node.line >= 1
        list(node.pairs.values())
