"""sniproxy: tables, their patterns in order, and mending."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import audited, mended_texts, mending, only

from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.servers.sniproxy import SERVER


def tls(*lines: str, listener: str = "listener 0.0.0.0:443", protocol: str = "tls") -> str:
    return "\n".join(
        [f"{listener} {{", f"    proto {protocol}", "    table hosts", "}", "table hosts {", *lines, "}", ""]
    )


@pytest.mark.parametrize(
    ("line", "port"),
    [
        (".* *", ":443"),
        (".* *:443", ":443"),
        (".* *:25", ":25"),
        (".*\\.example$ *:443", ":443"),
        ("example\\.org *", "example.org.elsewhere.example:443"),
        ("example\\.org$ *", "elsewhere-example.org:443"),
        ("\\.com$ *", "elsewhere.com:443"),
        ("^(a|b)\\.[^.]+\\.example$ *", "a.elsewhere.example"),
    ],
)
def test_a_target_that_is_the_clients_word_is_open(line: str, port: str) -> None:
    finding = only(audited(SERVER, tls("    a\\.example\\.org 192.0.2.1", f"    {line}")))
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.OPEN, "sn-any-name", 7)
    assert finding.advisory == "RW-2015"
    assert port in finding.witness


def test_plain_http_is_misrouting() -> None:
    finding = only(audited(SERVER, tls(".* *:80", protocol="http")))
    assert (finding.rule, finding.advisory) == ("sn-any-host", "RW-2006")
    assert ":80" in only(audited(SERVER, "listen 80 {\n}\ntable {\n.* *\n}\n")).witness


@pytest.mark.parametrize(
    "lines",
    [
        ["^www\\.example\\.org$ 192.0.2.1:8443"],
        ["^www\\.example\\.org$ *"],
        ["(^|\\.)example\\.org$ *:443"],
        [".* 127.0.0.1:4443"],
        [".* 127.0.0.1:4443", ".* *"],
        [".*"],
        [],
    ],
)
def test_tables_of_ones_own_names_are_closed(lines: list[str]) -> None:
    assert audited(SERVER, tls(*lines)).verdict is AuditVerdict.CLOSED


def test_a_pattern_that_cannot_be_tried_is_unknown() -> None:
    assert audited(SERVER, tls("( *")).verdict is AuditVerdict.UNKNOWN


@pytest.mark.parametrize("listener", ["listener 127.0.0.1:443", "listen [::1]:443", "listener unix:/run/x"])
def test_loopback_is_out_of_reach(listener: str) -> None:
    assert audited(SERVER, tls(".* *", listener=listener)).verdict is AuditVerdict.CLOSED


def test_a_table_that_is_not_defined_keeps_it_down() -> None:
    finding = only(audited(SERVER, "listen 443 {\n    proto tls\n    table gone\n}\n"))
    assert (finding.verdict, finding.rule) == (AuditVerdict.DOWN, "sn-no-table")


@pytest.mark.parametrize("text", ["}\n", "listen 443 {\n", "\x00"])
def test_what_cannot_be_read_is_told(text: str) -> None:
    report = audited(SERVER, tls() + text)
    assert report.verdict is AuditVerdict.UNKNOWN
    assert report.gaps


def test_mending_takes_the_line_out() -> None:
    texts = mended_texts(SERVER, tls("^www\\.example\\.org$ 192.0.2.1", ".* *:443"))
    assert texts == {"/etc/sniproxy.conf": tls("^www\\.example\\.org$ 192.0.2.1")}
    assert mending(SERVER, tls(".* *", ".* *:25")).report.verdict is AuditVerdict.CLOSED


WORDS = st.sampled_from(
    ["listen", "443", "{", "}", "table", "a", ".*", "*", "*:25", "(", "proto", "tls", "\n", '"']
)


@settings(max_examples=80, deadline=None)
@given(st.lists(WORDS, max_size=40).map(" ".join) | st.text(max_size=200))
def test_nothing_makes_it_fail(text: str) -> None:
    audited(SERVER, text)
    audited(SERVER, tls(text))
