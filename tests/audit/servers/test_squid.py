"""Squid: every row of the field's matrix, its acls, and what mending leaves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import audited, mended_texts, mending, only, seen

from relaywatch.audit.findings import AuditVerdict, GapKind
from relaywatch.audit.servers.squid import SERVER

PORT = "http_port 3128\n"
SHIPPED = """acl SSL_ports port 443
acl Safe_ports port 80 21 443 70 210 1025-65535 280 488 591 777
http_access deny !Safe_ports
http_access deny CONNECT !SSL_ports
"""
PASSWORD = "auth_param basic program /usr/lib/squid/basic_ncsa_auth /etc/squid/passwd\nacl known proxy_auth REQUIRED\n"


def test_the_shipped_order_with_deny_all_last_is_closed() -> None:
    text = PORT + SHIPPED + "acl localnet src 10.0.0.0/8 fc00::/7\nhttp_access allow localnet\n"
    report = audited(SERVER, text + "http_access allow localhost\nhttp_access deny all\n")
    assert report.verdict is AuditVerdict.CLOSED
    assert not report.gaps


def test_allow_all_first_is_open_to_mail_and_to_the_web() -> None:
    report = audited(SERVER, PORT + "http_access allow all\nhttp_access deny all\n")
    assert seen(report) == [("open", "sq-allow-connect", 2), ("open", "sq-allow", 2)]
    assert report.findings[0].advisory == "RW-2001"
    assert report.findings[0].witness.endswith(":25 by CONNECT")
    assert [cause.rule for cause in report.findings[0].causes] == ["sq-allow-connect", "sq-connect"]
    assert report.findings[1].witness.endswith(":25 by GET")


def test_the_two_denies_keep_mail_away_and_nothing_else() -> None:
    report = audited(SERVER, PORT + SHIPPED + "http_access allow all\n")
    assert seen(report) == [("open", "sq-allow-connect", 6), ("open", "sq-allow", 6)]
    assert report.findings[0].witness.endswith(":443 by CONNECT")
    assert report.findings[1].witness.endswith(":443 by GET")


def test_where_no_line_matches_the_opposite_of_the_last_holds() -> None:
    finding = only(audited(SERVER, PORT + "acl bad dstdomain .bad.example\nhttp_access deny bad\n"))
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.OPEN, "sq-no-last", 3)


def test_no_http_access_line_refuses_everybody() -> None:
    assert audited(SERVER, PORT).verdict is AuditVerdict.CLOSED


def test_an_acl_of_everything_is_found_at_its_own_line() -> None:
    text = PORT + "acl localnet src 0.0.0.0/0\nacl Safe_ports port 80 443 1025-65535\n"
    text += "http_access deny !Safe_ports\nhttp_access allow localnet\nhttp_access deny all\n"
    finding = only(audited(SERVER, text))
    assert (finding.rule, finding.line) == ("sq-acl-wide", 2)
    assert finding.witness.endswith(":443 by CONNECT")


def test_allow_connect_to_ssl_ports_tunnels_and_fetches_nothing() -> None:
    finding = only(audited(SERVER, PORT + "acl SSL_ports port 443\nhttp_access allow CONNECT SSL_ports\n"))
    assert (finding.rule, finding.line) == ("sq-allow-connect", 3)


def test_ssl_ports_with_mail_among_them_let_mail_through() -> None:
    text = (
        PORT + "acl SSL_ports port 443 465 25\nhttp_access deny CONNECT !SSL_ports\nhttp_access allow all\n"
    )
    report = audited(SERVER, text)
    assert "elsewhere.example:25 by CONNECT" in report.findings[0].witness


def test_an_accelerator_asks_its_own_server_and_a_plain_port_beside_it_anybody() -> None:
    accelerator = "http_port 80 accel defaultsite=www.example.org\n"
    peer = "cache_peer 192.0.2.31 parent 80 0 no-query originserver\nhttp_access allow all\n"
    assert audited(SERVER, accelerator + peer).verdict is AuditVerdict.CLOSED
    report = audited(SERVER, accelerator + PORT + peer)
    assert [service.verdict for service in report.services] == [AuditVerdict.CLOSED, AuditVerdict.OPEN]
    report = audited(SERVER, "http_port 80 accel allow-direct vhost\nhttp_access allow all\n")
    assert seen(report) == [("open", "sq-allow-direct", 1)]
    through = (
        accelerator.replace("\n", " vhost\n") + "cache_peer 192.0.2.9 parent 3128 0\nhttp_access allow all\n"
    )
    assert audited(SERVER, through).verdict is AuditVerdict.OPEN


@pytest.mark.parametrize("word", ["intercept", "tproxy", "transparent"])
def test_an_interception_port_depends_on_what_is_not_in_the_file(word: str) -> None:
    report = audited(SERVER, f"http_port 3129 {word}\nhttp_access allow all\n")
    assert report.verdict is AuditVerdict.UNKNOWN
    assert {rule for _, rule, _ in seen(report)} == {"sq-intercept"}
    closed = audited(SERVER, f"http_port 3129 {word}\nhttp_access deny all\n")
    assert closed.findings == ()


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        (
            "acl a src 0.0.0.0/1\nacl a src 128.0.0.0-255.255.255.255\nhttp_access allow a",
            "sq-acl-wide",
        ),
        ("acl a src 10.0.0.0/8\nhttp_access deny a\nhttp_access allow !a", "sq-allow-connect"),
        ("acl a src 10.0.0.0/8\nhttp_access allow !a", "sq-allow-connect"),
        ("acl a method CONNECT\nacl b port 25\nhttp_access allow a b", "sq-allow-connect"),
        ("acl a proto HTTP\nhttp_access allow a", "sq-allow"),
        ("acl a time MTWHF 09:00-18:00\nhttp_access allow a", "sq-allow-connect"),
        ("acl a time MTWHF 09:00-18:00\nhttp_access deny a\nhttp_access allow all", "sq-allow-connect"),
        ("acl a dst all\nhttp_access allow a", "sq-allow-connect"),
        ("acl a localport 3128\nhttp_access allow a", "sq-allow-connect"),
        ("acl a localip all\nhttp_access allow a", "sq-allow-connect"),
        ("acl b port 443\nacl a any-of b CONNECT\nhttp_access allow CONNECT", "sq-allow-connect"),
        ("acl b port 443\nacl c any-of b\nhttp_access allow c", "sq-allow-connect"),
        ("acl b port 443\nacl c all-of CONNECT b\nhttp_access allow c", "sq-allow-connect"),
        ("acl a annotate_client x=y\nhttp_access allow a", "sq-allow-connect"),
        ("acl a dstdom_regex -i example\nhttp_access allow a", "sq-allow-connect"),
        ("acl a url_regex ^http\nhttp_access allow a", "sq-allow"),
        ("acl a dstdomain .com\nhttp_access allow a", "sq-allow-connect"),
        ("acl a dstdom_regex bank\\.test\nhttp_access allow a", "sq-allow-connect"),
        ("acl a dstdom_regex ^w{3}\\.\nhttp_access allow a", "sq-allow-connect"),
        ("acl a dstdom_regex example\\.org$\nhttp_access allow a", "sq-allow-connect"),
        ("acl a dst 198.0.0.0/8\nhttp_access allow a", "sq-allow-connect"),
        ("acl a method POST\nhttp_access allow a", "sq-allow"),
        ("http_access permit x\nhttp_access allow\nhttp_access allow all # but why", "sq-allow-connect"),
    ],
)
def test_ways_to_let_everybody_in(lines: str, rule: str) -> None:
    report = audited(SERVER, PORT + lines)
    assert report.verdict is AuditVerdict.OPEN
    assert rule in {finding.rule for finding in report.findings}


@pytest.mark.parametrize(
    "lines",
    [
        "acl a src 0.0.0.0/0\nhttp_access deny a\nhttp_access allow all",
        "http_access allow localhost\nhttp_access allow manager\nhttp_access allow to_localhost\nhttp_access allow to_linklocal",
        "acl a src 203.0.113.25/32 10.0.0.1-10.0.0.9 192.168.0.0-192.168.9.0/24 fd00::/8 host.example.org\nhttp_access allow a",
        "acl a dstdomain www.example.org .example.net 1 .\nhttp_access allow a",
        "acl a dst 192.0.2.31 www.example.org\nhttp_access allow a",
        "acl a dstdom_regex ^www\\.example\\.org$\nhttp_access allow a",
        "acl a arp 00:11:22:33:44:55\nhttp_access allow a",
        "acl a localport 8080\nhttp_access allow a",
        "acl a port x 1-y\nhttp_access allow a",
        "acl a src 10.0.0.9-fd00::1\nhttp_access allow a",
        "acl a all-of localhost CONNECT\nhttp_access allow a",
        "acl a any-of CONNECT\nacl a any-of a\nhttp_access deny a\nhttp_access deny !a\nhttp_access allow all",
        PASSWORD + "http_access allow known\nhttp_access deny all",
        PASSWORD + "http_access deny !known\nhttp_access allow all",
        PASSWORD + "acl a src 10.0.0.0/8\nhttp_access deny !a\nhttp_access allow known",
        "http_access allow all\nmiss_access deny all",
        "http_access allow all\nadapted_http_access deny all",
        "http_access allow all\nnever_direct allow all\ncache_peer 192.0.2.1 parent 80 0 originserver",
        "if false\nhttp_access allow all\nelse\nhttp_access deny all\nendif",
        "if 1 = 2\nhttp_access allow all\nendif",
        "follow_x_forwarded_for deny all\nacl a src 10.0.0.0/8\nhttp_access allow a",
        "follow_x_forwarded_for allow localhost\nacl a src 10.0.0.0/8\nhttp_access allow a",
        "acl_uses_indirect_client off\nfollow_x_forwarded_for allow all\nacl a src 10.0.0.0/8\nhttp_access allow a",
    ],
)
def test_ways_that_keep_everybody_out(lines: str) -> None:
    report = audited(SERVER, PORT + lines)
    assert report.verdict is AuditVerdict.CLOSED
    assert report.findings == ()


@pytest.mark.parametrize(
    ("lines", "rule", "claim"),
    [
        (
            "follow_x_forwarded_for allow all\nacl a src 10.1.0.0/16\nhttp_access allow a",
            "sq-forwarded-for",
            "X-Forwarded-For: 10.1.0.0",
        ),
        (
            "follow_x_forwarded_for allow all\nhttp_access allow localhost",
            "sq-forwarded-for",
            "X-Forwarded-For: 127.0.0.1",
        ),
        ("acl a srcdomain .example.org\nhttp_access allow a", "sq-client-name", ".example.org"),
        ("acl a browser ^Special\nhttp_access allow a", "sq-field", "User-Agent: ^Special"),
        ("acl a req_header X-Token -i ^yes\nhttp_access allow a", "sq-field", "X-Token -i ^yes"),
        ("acl a src 198.0.0.0/8\nhttp_access allow a", "sq-acl-wide", "198.0.0.0/8"),
    ],
)
def test_what_a_stranger_may_claim(lines: str, rule: str, claim: str) -> None:
    report = audited(SERVER, PORT + lines)
    assert report.verdict is AuditVerdict.OPEN_IF
    assert {finding.rule for finding in report.findings} <= {rule, "sq-allow"}
    assert claim in report.findings[0].witness or claim in str(report.findings[0].claims)


def test_a_proxy_header_says_whatever_it_likes_if_strangers_may_send_one() -> None:
    text = "http_port 3128 require-proxy-header\nacl a src 10.1.0.0/16\nhttp_access allow a\n"
    assert audited(SERVER, text).verdict is AuditVerdict.CLOSED
    report = audited(SERVER, text + "proxy_protocol_access allow all\n")
    assert seen(report) == [("open-if", "sq-proxy-header", 1)]


@pytest.mark.parametrize(
    "lines",
    [
        "acl a external helper\nhttp_access allow a",
        "acl a external helper\nhttp_access deny !a\nhttp_access allow all",
        "acl a ident REQUIRED\nhttp_access allow a",
        "acl a src 10.0.0.0/8\nacl a src 0.0.0.0/0\nhttp_access allow a",  # left out by 5.7, and not by later ones
        "acl a dst 10.0.0.0/8\nacl a dst all\nhttp_access allow a",
        "acl a localip 192.0.2.30\nhttp_access allow a",
        'acl a src "/etc/squid/missing"\nhttp_access allow a',
        "include /etc/squid/missing.conf\nhttp_access deny all",
        "include /etc/squid/conf.d/*.conf\nhttp_access deny all",
        "if ${process_number} = 1\nhttp_access allow all\nendif\nhttp_access deny all",
        "acl a dstdom_regex (\nhttp_access allow a",
        "acl a dstdom_regex ^(?!elsewhere)[a-c]{4}x\nhttp_access allow a",
        "url_rewrite_program /usr/bin/squidGuard\nhttp_access allow all",
        "acl nowhere\nacl a note x y\nhttp_access allow a",
    ],
)
def test_what_is_not_evaluated_is_unknown(lines: str) -> None:
    report = audited(SERVER, PORT + lines)
    assert report.verdict is AuditVerdict.UNKNOWN
    assert report.gaps


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ("http_access allow nosuch", 2),
        ("http_access allow !nosuch all", 2),
        ("acl a nosuchtype 1\nhttp_access deny all", 2),
        ("acl a src all\nacl a dst all", 3),
        ("acl known proxy_auth REQUIRED\nhttp_access allow known", 2),
    ],
)
def test_squid_refuses_to_start(lines: str, line: int) -> None:
    finding = only(audited(SERVER, PORT + lines))
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.DOWN, "sq-syntax", line)


def test_neighbours_questions_let_nobody_through() -> None:
    report = audited(SERVER, PORT + "icp_access allow all\nhtcp_access allow all\nhttp_access deny all\n")
    assert report.verdict is AuditVerdict.CLOSED
    assert len(report.gaps) == 2


def test_listeners_are_told_apart() -> None:
    text = (
        "http_port 127.0.0.1:3128\nhttps_port [::1]:3129 tls-cert=x\nhttp_port\nhttp_port 192.0.2.30:3130\n"
    )
    text += "acl in localip 192.0.2.30\nhttp_access allow in\n"
    report = audited(SERVER, text)
    assert [service.verdict for service in report.services] == [
        AuditVerdict.CLOSED,
        AuditVerdict.CLOSED,
        AuditVerdict.OPEN,
    ]
    assert audited(SERVER, "http_access allow all\n").verdict is AuditVerdict.UNKNOWN


def test_includes_lists_and_order_are_followed() -> None:
    files = {
        "/etc/squid/squid.conf": 'http_port 3128\nacl nets src "/etc/squid/nets"\ninclude /etc/squid/conf.d/*.conf\nhttp_access deny all\n',
        "/etc/squid/conf.d/a.conf": "http_access allow \\\n  nets\n",
        "/etc/squid/nets": "# ours\n\n# others\n0.0.0.0/0\n10.0.0.0/8 # inner\n",
    }
    finding = audited(SERVER, files).findings[0]
    assert (finding.rule, finding.file, finding.line) == ("sq-acl-wide", "/etc/squid/nets", 4)
    parameters = files | {
        "/etc/squid/squid.conf": 'http_port 3128\nacl nets src parameters("/etc/squid/nets")\nhttp_access allow nets\n'
    }
    assert audited(SERVER, parameters).verdict is AuditVerdict.OPEN


def test_a_file_that_includes_itself_is_a_loop() -> None:
    report = audited(SERVER, PORT + "include /etc/squid/squid.conf\nhttp_access deny all\n")
    assert report.verdict is AuditVerdict.UNKNOWN
    assert report.gaps[0].kind is GapKind.LOOP


def test_another_proxy_that_is_asked_leads_out() -> None:
    text = PORT + "http_access allow all\nnever_direct allow all\ncache_peer 192.0.2.1 parent 3128 0\n"
    assert audited(SERVER, text).verdict is AuditVerdict.OPEN
    some = (
        PORT
        + "http_access allow all\nacl own dstdomain .own.example\nnever_direct allow own\nnever_direct deny all\n"
    )
    assert audited(SERVER, some).verdict is AuditVerdict.OPEN
    gap = PORT + "include /etc/squid/missing.conf\nhttp_access allow all\nnever_direct allow all\n"
    assert audited(SERVER, gap).verdict is AuditVerdict.UNKNOWN


BROKEN = [
    "http_access allow all",
    SHIPPED + "http_access allow all",
    "acl localnet src 0.0.0.0/0 10.0.0.0/8\nhttp_access allow localnet",
    "acl localnet src ::/0\nacl localnet src 0.0.0.0/0\nhttp_access allow localnet\nhttp_access deny all",
    "acl bad dstdomain .bad.example\nhttp_access deny bad",
    "acl own_networks src 10.9.0.0/16\nacl SSL_ports port 443\nhttp_access allow CONNECT SSL_ports",
    "acl own_networks src 10.9.0.0/16\nfollow_x_forwarded_for allow all\nhttp_access allow own_networks",
    "acl a browser Special\nhttp_access allow all a",
]


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("allowed", [(), ("10.1.0.0/16",), ("198.51.0.0/16",)])
def test_mending_closes_it_and_keeps_the_owners_networks(text: str, allowed: tuple[str, ...]) -> None:
    outcome = mending(SERVER, PORT + text, allowed=allowed)
    assert outcome.report.verdict is AuditVerdict.CLOSED
    [mended] = outcome.after.values()
    if allowed == ("198.51.0.0/16",) and "follow" not in text:
        assert audited(SERVER, mended.text).verdict is AuditVerdict.OPEN_IF  # who comes from there is let in


def test_mending_an_accelerator_takes_out_the_one_word() -> None:
    texts = mended_texts(SERVER, "http_port 80 accel allow-direct vhost\nhttp_access allow all\n")
    assert texts == {"/etc/squid/squid.conf": "http_port 80 accel vhost\nhttp_access allow all\n"}


def test_mending_leaves_alone_what_it_has_no_edit_for() -> None:
    text = (
        "http_port 3128 require-proxy-header\nproxy_protocol_access allow all\nhttp_access allow localhost\n"
    )
    assert mending(SERVER, text, allowed=["10.0.0.0/8"]).after == {}
    assert mending(SERVER, PORT + "http_access allow nosuch\n").after == {}


def test_an_acl_that_is_defined_is_used_again() -> None:
    text = PORT + "acl own_networks src 10.1.0.0/16\nhttp_access allow all\nhttp_access allow CONNECT\n"
    [mended] = mended_texts(SERVER, text, allowed=["10.1.0.0/16"]).values()
    assert mended.count("acl own_networks") == 1


WORDS = st.sampled_from(
    [
        "acl",
        "a",
        "b",
        "src",
        "all",
        "!a",
        "allow",
        "deny",
        "http_access",
        "10.0.0.0/8",
        "0.0.0.0/0",
        "if",
        "endif",
        "port",
        "25-",
        "\\",
        '"x"',
        "include",
        "*",
        "any-of",
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(WORDS, max_size=6).map(" ".join), max_size=12).map("\n".join) | st.text(max_size=200)
)
def test_nothing_makes_it_fail(text: str) -> None:
    audited(SERVER, PORT + text)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["http_access allow all", "http_access allow a", "http_access deny a", "http_access deny CONNECT"]
        ),
        min_size=1,
    )
)
def test_a_deny_before_all_others_never_opens(lines: list[str]) -> None:
    acl = PORT + "acl a src 10.0.0.0/8 198.0.0.0/8\n"
    before = audited(SERVER, "\n".join([acl, *lines]))
    after = audited(SERVER, "\n".join([acl, "http_access deny all", *lines]))
    assert after.verdict is AuditVerdict.CLOSED
    assert before.error is None
