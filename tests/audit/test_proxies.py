"""What the proxies' servers share: tokens, names made for patterns, destinations."""

from __future__ import annotations

import pytest

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.captures import (
    compiled,
    host_of,
    is_fixed,
    is_of_own_names,
    is_outside,
    names_for,
    subjects,
)
from relaywatch.audit.conditions import ALWAYS, NEVER
from relaywatch.audit.proxies import host_and_port, is_destination, is_loopback
from relaywatch.audit.text import SourceFile
from relaywatch.audit.tokens import tokens


def words(text: str, **how: object) -> list[tuple[str, int]]:
    source = SourceFile.of("x", text.encode())
    return [(token.text, token.line) for token in tokens(source, **how)]  # type: ignore[arg-type]


def test_words_marks_and_quotes_have_their_lines() -> None:
    text = "a 'b\nc' {\n # no\n d\\ e ${f g}h; \\\n i }\n"
    assert words(text) == [
        ("a", 1),
        ("b\nc", 1),
        ("{", 2),
        ("d\\ e", 4),
        ("${f g}h", 4),
        (";", 4),
        ("i", 5),
        ("}", 5),
    ]
    assert words('a "b\\"c\\d" \\\nd\ne', by_line=True, marks="") == [
        ("a", 1),
        ('b"c\\d', 1),
        ("d", 2),
        ("\n", 2),
        ("e", 3),
        ("\n", 3),
    ]
    assert words("# only\n") == []
    assert words("# no end") == []
    assert words("a\\\nb") == [("a", 1), ("b", 2)]
    with pytest.raises(ValueError, match="2"):
        words("a\n'b\n")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://a.example/x", "a.example"),
        ("http://a.example:80?x", "a.example"),
        ("http://a@b.example/", "b.example"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("a.example#b", "a.example"),
    ],
)
def test_the_host_of_a_url(url: str, host: str) -> None:
    assert host_of(url) == host
    assert host_of("http://a@b.example/", userinfo=False) == ""


def test_names_are_made_for_patterns() -> None:
    assert next(names_for(".*")) == "elsewhere.example"
    assert is_outside(next(names_for("^www\\.")))
    assert "elsewhere-own.test" in set(names_for("own\\.test$"))
    assert list(names_for("^own\\.test$")) == []
    assert list(names_for("(")) == []
    assert is_of_own_names("^own\\.test$")
    assert not is_of_own_names("\\.test$")
    assert not is_of_own_names("own")


def test_what_cannot_be_tried() -> None:
    assert compiled("(") is None
    assert compiled("(a+)+b") is None
    assert compiled("a" * 501) is None
    assert compiled("(?<name>a)") is not None
    assert is_fixed("^/(a|b)$")
    assert not is_fixed("^/(.*)$")
    assert "/go/elsewhere.example" in set(subjects("^/go/(.*)$", "/"))


def test_who_is_outside() -> None:
    assert is_outside("www.elsewhere.example.")
    assert is_outside("elsewhere-own.test")
    assert not is_outside("elsewhere.own.example")
    assert not is_outside("elsewhere")


def test_destinations_of_either_family() -> None:
    assert is_destination(AddressSet.everything()) == ALWAYS
    assert is_destination(AddressSet.of(["10.0.0.0/8", "192.0.2.1"])) == NEVER
    half = is_destination(AddressSet.of(["0.0.0.0/0"]))
    assert half.true
    assert half.false


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a:1", ("a", "1")),
        ("[::1]:1", ("::1", "1")),
        ("::1", ("::1", "")),
        (":1", ("", "1")),
        ("a", ("a", "")),
        ("[::1]", ("::1", "")),
        ("unix:/x:1", ("unix:/x:1", "")),
    ],
)
def test_hosts_with_ports(text: str, told: tuple[str, str]) -> None:
    assert host_and_port(text) == told


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "[::1]", "localhost", "unix:/x", "/run/x", "::1%lo")))
    assert not any(map(is_loopback, ("", "192.0.2.1", "x")))
