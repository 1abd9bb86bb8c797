"""Files as lines, and back to the very octets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.audit.findings import Position
from relaywatch.audit.text import Joins, SourceFile, logical_lines


@given(st.binary(max_size=200))
def test_any_octets_come_back_as_they_were(octets):
    assert SourceFile.of("f", octets).octets == octets


@given(st.text(max_size=100), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_text_in_what_windows_writes_comes_back_as_it_was(text, encoding):
    source = SourceFile.of("f", text.encode(encoding, "replace"))
    assert source.octets == text.encode(encoding, "replace")


@pytest.mark.parametrize(
    ("octets", "lines"),
    [
        (b"", ()),
        (b"a", ("a",)),
        (b"a\n", ("a",)),
        (b"a\n\nb\n", ("a", "", "b")),
        (b"a\r\nb\r\n", ("a", "b")),
        (b"a\r\nb\n", ("a\r", "b")),
        ("\ufeffa\n".encode(), ("a",)),
        ("a\r\nb".encode("utf-16"), ("a", "b")),
        (b"\xfe\xff\x00a\x00\n", ("a",)),
        (b"caf\xe9\n", ("caf\udce9",)),
        (b"a\x0bb\x0cc\xc2\x85d\xe2\x80\xa8e\n", ("a\x0bb\x0cc\x85d\u2028e",)),
    ],
)
def test_lines_end_at_line_feeds_alone(octets, lines):
    assert SourceFile.of("f", octets).lines == lines


def test_positions_count_from_one():
    source = SourceFile.of("/etc/f", b"a\nb\n")
    assert source.at(2) == Position("/etc/f", 2)
    assert str(source.at(2)) == "/etc/f:2"
    assert str(Position("/etc/f")) == "/etc/f"
    assert source.text == "a\nb\n"


def said(text: str, joins: Joins) -> list[tuple[str, int, int]]:
    source = SourceFile.of("f", text.encode())
    return [(line.text, line.position.line, line.last) for line in logical_lines(source, joins)]


def test_lines_that_begin_with_white_space_go_on():
    text = "# first\na = b,\n    c,\n# between\n\t d\n\n  e\nf = g\n  # more\nh\n"
    assert said(text, Joins.BY_INDENT) == [("a = b, c, d e", 2, 7), ("f = g", 8, 8), ("h", 10, 10)]


def test_lines_that_end_in_a_backslash_go_on():
    text = "a \\\n  b \\\n c\n\n# no\\\nd\ne\\"
    assert said(text, Joins.BY_BACKSLASH) == [("a b c", 1, 3), ("d", 6, 6), ("e", 7, 7)]


@given(st.text(alphabet="ab#\\ \t\n\r", max_size=60), st.sampled_from(Joins))
def test_logical_lines_stand_where_they_say_one_after_the_other(text, joins):
    source = SourceFile.of("f", text.encode())
    last = 0
    for line in logical_lines(source, joins):
        assert last < line.position.line <= line.last <= len(source.lines)
        assert joins is Joins.BY_BACKSLASH or not line.text.startswith("#")
        last = line.last
