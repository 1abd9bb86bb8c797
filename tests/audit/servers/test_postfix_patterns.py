"""Expressions and networks in Postfix's tables, and who is meant by them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.servers.postfix_files import NARROW, postfix

from relaywatch.audit.domains import is_public_suffix, outsiders, registered
from relaywatch.audit.patterns import NotEvaluatedError, Pattern, pattern, sample, split_pattern

TABLE = "smtpd_relay_restrictions = permit_mynetworks, {}, reject_unauth_destination\n"


def relay(restriction: str, **tables: str):
    return postfix(NARROW + TABLE.format(restriction), **tables)


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ("/@own\\.example$/ OK\n", "open-if"),
        ("/./ OK\n", "open"),
        ("/@own\\.example$/ REJECT\n/@own/ OK\n", "open-if"),
        ("/./ REJECT\n/@own\\.example$/ OK\n", "closed"),
        ("!/@bad\\.example$/ OK\n", "open"),
        ("if /@own/\n/^root/ OK\nendif\n", "open-if"),
        ("if !/@own/\n/^root@own/ OK\nendif\n", "closed"),
        ("/@OWN\\.EXAMPLE$/i OK\n", "open-if"),
        ("/^(a+)+$/ OK\n", "unknown"),
        ("/(unclosed/ OK\n", "unknown"),
        ("no delimiter\n", "unknown"),
        ("/@[[:alpha:]]+\\.own\\.example$/ OK\n", "open-if"),
        ("/^user(one|two)[0-9]{2}@own\\.example$/ OK\n", "open-if"),
    ],
)
def test_rows_of_expressions(rows: str, verdict: str) -> None:
    for kind in ("regexp", "pcre"):
        assert relay(f"check_sender_access {kind}:/etc/postfix/r", r=rows).verdict == verdict


def test_expressions_without_a_file() -> None:
    told = relay("check_sender_access regexp:{ {/@own\\.example$/ OK} }")
    assert told.verdict == "open-if"


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ("0.0.0.0/0 OK\n", "open"),
        ("203.0.113.0/24 REJECT\n0.0.0.0/0 OK\n", "open"),
        ("198.51.100.0/24 REJECT\n0.0.0.0/0 OK\n", "open"),
        ("0.0.0.0/0 DUNNO\n0.0.0.0/0 OK\n", "closed"),
        ("8.0.0.0/8 OK\n0.0.0.0/0 REJECT\n", "open-if"),
        ("192.0.2.0/24 OK\n", "closed"),
        ("if 8.0.0.0/8\n8.8.0.0/16 OK\nendif\n", "open-if"),
        ("if 10.0.0.0/8\n0.0.0.0/0 OK\nendif\n", "closed"),
        ("junk OK\n", "unknown"),
        ("2000::/3 OK\n", "open"),
    ],
)
def test_rows_of_networks(rows: str, verdict: str) -> None:
    assert relay("check_client_access cidr:/etc/postfix/c", c=rows).verdict == verdict


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ("/example\\.org/ x\n", "open-if"),
        ("/example\\.org$/ x\n", "open-if"),
        ("/^example\\.org/ x\n", "open-if"),
        ("/^example\\.org$/ x\n", "closed"),
        ("/^(.+\\.)?example\\.org$/ x\n", "closed"),
        ("/\\.example\\.org$/ x\n", "closed"),
        ("/^.*\\.org$/ x\n", "open-if"),
        ("/./ x\n", "open"),
    ],
)
def test_expressions_among_the_domains(rows: str, verdict: str) -> None:
    told = postfix(NARROW + "relay_domains = regexp:/etc/postfix/d\n", d=rows)
    assert told.verdict == verdict
    if verdict == "open-if":
        assert (told.findings[0].rule, told.findings[0].file) == ("pf-dom-wide", "/etc/postfix/d")


def test_suffixes() -> None:
    assert is_public_suffix("kr")
    assert is_public_suffix("co.kr")
    assert not is_public_suffix("example.kr")
    assert (registered("a.b.example.co.kr"), registered("x.example.org"), registered("org")) == (
        "example.co.kr",
        "example.org",
        "",
    )


def test_outsiders_of_a_row() -> None:
    def row(expression: str) -> Pattern:
        return pattern(expression, "", is_pcre=True)

    assert outsiders(row(r"example\.org")) == [
        "example.org.elsewhere.example",
        "x.example.org.elsewhere.example",
        "elsewhereexample.org",
    ]
    assert outsiders(row(r"^(.+\.)?example\.org$")) == []
    assert outsiders(row("!x")) == []
    assert outsiders(row(r"(?<=\d)x\b\B")) == []


@pytest.mark.parametrize(
    "expression",
    [
        r"^a[^@x]+\d\s\w@[a-z]{2,3}(?:b|c)?.$",
        r"[^a-z0-9\d\s\w.]",
        r"[\d\s]",
        r"[^x]",
        r"[\w]",
        r"x{3}y*?",
        "(?=a)a",
        "(?>ab)",
    ],
)
def test_a_sample_matches(expression: str) -> None:
    compiled = pattern(expression, "", is_pcre=True).expression
    text = sample(compiled)
    assert text is None or compiled.search(text)


def test_lines_of_expressions() -> None:
    assert split_pattern(r"!/a\/b/i  OK now") == (r"!a\/b", "i", "OK now")
    assert split_pattern("{a}x y") == ("a", "x", "y")
    for broken in ("/a", "", "!", "/a\\"):
        with pytest.raises(NotEvaluatedError):
            split_pattern(broken)
    with pytest.raises(NotEvaluatedError):
        pattern("a", "x", is_pcre=False)
    with pytest.raises(NotEvaluatedError):
        pattern("a" * 3000, "", is_pcre=True)
    assert pattern("a b", "mx", is_pcre=True).holds("ab")
    assert not pattern("a", "i", is_pcre=False).holds("A")


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_no_table_makes_it_stumble(text: str) -> None:
    relay(
        "check_sender_access regexp:/etc/postfix/t, check_client_access cidr:/etc/postfix/t, check_helo_access hash:/etc/postfix/t",
        t=text,
    )


def test_a_row_that_others_hide_from_most() -> None:
    """Only a name with "own" in it gets past the first row to the second: no sample of the second alone does."""
    rows = "!/own/ cls\n/./ OK\n"
    main = NARROW + "smtpd_restriction_classes = cls\ncls = reject\nsmtpd_helo_required = yes\n"
    told = postfix(main + TABLE.format("check_helo_access regexp:/etc/postfix/r"), r=rows)
    assert (told.verdict, told.findings[0].rule) == ("open-if", "pf-relay-order-helo")


def test_an_expression_for_which_nobody_is_found_is_a_gap() -> None:
    told = relay("check_sender_access pcre:/etc/postfix/r", r="/^(?=.*own)(?!.*x)[^@]+@(?<=@)own$/ OK\n")
    assert told.verdict == "unknown"
    told = postfix(NARROW + "relay_domains = pcre:/etc/postfix/r\n", r="/(?<=a)b(?=c)c(?<!x)\\B/ x\n")
    assert told.verdict in {"unknown", "open-if"}


def test_routes_of_every_kind_are_followed() -> None:
    table = TABLE.format("check_recipient_access inline:{{{}=OK}}")
    for sign in ("someone%elsewhere.example@own.example", "elsewhere.example!someone@own.example"):
        assert postfix(NARROW + table.format(sign)).verdict == "closed"
    wide = NARROW + "mydestination = own.example\n" + table.format("elsewhere.example")
    assert postfix(wide).verdict == "open-if"
    off = wide + "allow_percent_hack = no\nrelay_domains = .dotted.example\nallow_untrusted_routing = yes\n"
    assert "open-if" in {one.verdict for one in postfix(off).findings}
    dotted = NARROW + "parent_domain_matches_subdomains =\nrelay_domains = .dotted.example\n"
    told = postfix(dotted + "allow_untrusted_routing = yes\n")
    assert "someone%elsewhere.example@a.dotted.example" in told.findings[0].witness
    assert postfix(NARROW + "mydestination =\n").services[0].verdict == "closed"
