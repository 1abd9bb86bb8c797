"""3proxy: lines in their order, kinds of authentication, lists, and mending."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import audited, mended_texts, mending, only, seen

from relaywatch.audit.findings import AuditVerdict, GapKind
from relaywatch.audit.server import load_servers

SERVER = load_servers()["3proxy"]


def test_it_is_found_although_no_name_of_a_module_begins_with_a_digit() -> None:
    assert SERVER.name == "3proxy"
    assert SERVER.evaluate.__module__ == "relaywatch.audit.servers._3proxy"


@pytest.mark.parametrize("head", ["", "auth none\n", "auth strong none\n", "deny *\n", "auth none\ndeny *\n"])
def test_no_authentication_means_no_lists(head: str) -> None:
    report = audited(SERVER, head + "proxy -p3128\nsocks\n")
    line = 1 if "auth" in head else 0
    assert seen(report) == [
        ("open", rule, line) for rule in ("p3-connect", "p3-forward", "p3-socks", "p3-bind", "p3-udp")
    ]
    assert [finding.service for finding in report.findings][1:3] == ["proxy *:3128", "socks *:1080"]
    assert ":25 by proxy HTTP_CONNECT" in report.findings[0].witness


@pytest.mark.parametrize(
    "text",
    [
        "auth strong\nproxy\n",
        "auth strong\nallow *\nproxy\nsocks\n",
        "auth iponly\nallow * 192.0.2.0/24\nproxy\n",
        "auth iponly\nallow * 10.0.0.0/8,192.168.0.1-192.168.9.9\ndeny *\nsocks\n",
        "auth iponly\nallow alice\nproxy\n",
        "auth iponly\ndeny *\nallow *\nproxy\n",
        "auth iponly\nallow * * 127.0.0.1\nproxy\n",
        "auth iponly\nallow * * www.example.org\nproxy\n",
        "auth iponly\nallow * * * * ADMIN\nproxy\n",
        "auth iponly\nallow * * * x\nproxy\n",
        "auth cache strong\nallow *\nsocks -p1080\n",
        "internal 127.0.0.1\nproxy\n",
        "proxy -i127.0.0.1\n",
        "internal unix:/run/3proxy.sock\nsocks\n",
        "auth iponly strong\nallow alice\nproxy\n",
        "tcppm 25 192.0.2.1 25\n",
        "auth strong\nftppr\nsmtpp\n",
        "auth iponly\nallow * 10.0.0.0/8\npop3p\n",
        "end\nproxy\n",
        " proxy\n#proxy\n",
    ],
)
def test_what_keeps_strangers_out(text: str) -> None:
    assert audited(SERVER, text).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    ("rules", "witness"),
    [
        ("", ":25"),
        ("allow *\n", ":25"),
        ("deny * * * 25\nallow *\n", ":443"),
        ("allow * * * 80-88,443\n", ":443"),
        ("allow * * * 6667\n", ":6667"),
        ("deny * * * 1-6000\nallow *\n", ":6001"),
        ("redirect 192.0.2.9 3128 * * * 6667\n", ":6667"),
        ("allow * 0.0.0.0/0\n", ":25"),
        ("allow * * *.example\n", ":25"),
        ("allow * * *.test\n", "elsewhere.test"),
        ("allow * * 0.0.0.0-255.255.255.255\n", ":25"),
        ("allow * * * * HTTP,HTTPS\n", ":25"),
        ("allow * * * * * 1-5 08:00:00-18:00:00\n", ":25"),
        ("deny * 198.51.100.1\nallow -\n", ":25"),
        ("deny *\nflush\n", ":25"),
        ("redirect 192.0.2.9 3128 *\n", ":25"),
    ],
)
def test_wide_lists_are_open(rules: str, witness: str) -> None:
    report = audited(SERVER, "auth iponly\n" + rules + "proxy\n")
    assert report.verdict is AuditVerdict.OPEN
    assert report.findings[0].rule == "p3-connect"
    assert witness in report.findings[0].witness


def test_each_service_has_the_lists_above_it() -> None:
    text = "auth iponly\nallow * 10.0.0.0/8\nproxy\nflush\nallow *\ntlspr -p443\nauth strong\nauto\n"
    report = audited(SERVER, text)
    finding = only(report)
    assert (finding.rule, finding.line, finding.service) == ("p3-sni", 5, "tlspr *:443")
    assert [service.verdict.value for service in report.services] == ["closed", "open", "closed"]


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("auth useronly\nallow alice,bob\nproxy\n", "user name"),
        ("auth dnsname\nallow *\nproxy\n", "PTR any"),
        ("auth dnsname\nallow host.example.org\nproxy\n", "PTR"),
        ("auth iponly\nallow * 198.0.0.0/8\nproxy\n", "from 198.0.0.0/8"),
    ],
)
def test_what_has_to_be_claimed(text: str, claim: str) -> None:
    report = audited(SERVER, text)
    assert report.verdict is AuditVerdict.OPEN_IF
    assert claim in report.findings[0].witness


@pytest.mark.parametrize(
    "text",
    [
        "auth pam\nallow *\nproxy\n",
        "auth iponly\nallow * $/etc/3proxy/gone\nproxy\n",
        "auth iponly\nallow * * *.example.org\nsocks\n",
        "auth strong\nproxy -r192.0.2.1:8080\n",
        "plugin x.so y\n",
        "ftppr\n",
        "auth iponly\nsmtpp\n",
        "include gone.cfg\n",
    ],
)
def test_what_is_not_evaluated_is_unknown(text: str) -> None:
    report = audited(SERVER, text)
    assert report.verdict is AuditVerdict.UNKNOWN
    assert report.gaps


def test_files_are_taken_in() -> None:
    files = {
        "/etc/3proxy/3proxy.cfg": 'auth iponly\nallow * $"/etc/3proxy/nets"\ninclude /etc/3proxy/more.cfg\n',
        "/etc/3proxy/nets": "0.0.0.0/0,::/0\n",
        "/etc/3proxy/more.cfg": 'proxy "-p8080"\n',
    }
    report = audited(SERVER, files)
    assert seen(report) == [("open", "p3-connect", 2), ("open", "p3-forward", 2)]
    assert report.services[0].name == "proxy *:8080"
    loop = audited(SERVER, "include 3proxy.cfg\n")
    assert [gap.kind for gap in loop.gaps] == [GapKind.LOOP]


@pytest.mark.parametrize(
    "text",
    [
        "proxy\n",
        "nscache 65536\nproxy -p3128\nsocks\ntlspr\n",
        "auth none\nallow * 10.0.0.0/8\nproxy\nsocks\n",
        "auth iponly\nproxy\nsocks\n",
        "auth iponly\nallow *\nproxy\n",
        "auth strong none\nsocks\n",
    ],
)
@pytest.mark.parametrize("allowed", [(), ("198.51.100.0/24", "2001:db8::/32")])
def test_mending_closes_it_and_keeps_the_owners_networks(text: str, allowed: tuple[str, ...]) -> None:
    outcome = mending(SERVER, text, allowed=allowed)
    assert outcome.report.verdict is AuditVerdict.CLOSED
    if "10.0.0.0/8" not in text:
        assert f"+allow * {','.join(allowed or ('127.0.0.0/8',))}" in outcome.diff


def test_mending_an_included_service() -> None:
    files = {"/etc/3proxy/3proxy.cfg": "include /etc/3proxy/more.cfg\n", "/etc/3proxy/more.cfg": "socks\n"}
    assert mended_texts(SERVER, files) == {
        "/etc/3proxy/more.cfg": "auth iponly\nallow * 127.0.0.0/8\ndeny *\nsocks\n"
    }


WORDS = st.sampled_from(
    ["auth", "none", "iponly", "strong", "allow", "deny", "*", "10.0.0.0/8", "a-b", "1-2", "25", "-", "\n",
     "redirect", "proxy", "socks", "auto", "flush", "$x", '"', "include", "3proxy.cfg", "HTTP", "-i", "internal"]
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.lists(WORDS, max_size=40).map(" ".join) | st.text(max_size=200))
def test_nothing_makes_it_fail(text: str) -> None:
    audited(SERVER, text + "\nproxy\nsocks\n")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["allow *", "deny *", "allow * 10.0.0.0/8", "deny * * * 25"]), max_size=5))
def test_a_deny_before_all_others_closes(rules: list[str]) -> None:
    text = "\n".join(["auth iponly", "deny *", *rules, "proxy", "socks", ""])
    assert audited(SERVER, text).verdict is AuditVerdict.CLOSED
