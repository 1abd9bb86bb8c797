"""HAProxy: the field's row, destinations by whatever way, conditions, and mending."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import audited, mended_texts, mending, only, seen

from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.servers.haproxy import SERVER

SET = "http-request set-dst hdr(host)"


def listen(
    *lines: str, bind: str = "bind *:8080", server: str = "server any 0.0.0.0:0", before: str = ""
) -> str:
    return "\n".join(
        [f"{before}listen web", " mode http", f" {bind}", *(f" {line}" for line in lines), f" {server}", ""]
    )


def test_a_destination_from_the_host_field_is_open() -> None:
    finding = only(audited(SERVER, listen(SET)))
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.OPEN, "ha-set-dst", 4)
    assert finding.witness.endswith("destination elsewhere.example:25")
    fixed_port = only(audited(SERVER, listen(SET, server="server any 0.0.0.0:443")))
    assert fixed_port.witness.endswith(":443")


def test_the_lab_cases() -> None:
    forward = listen(
        "http-request do-resolve(txn.to,lab,ipv4) hdr(host),host_only",
        "http-request set-var(txn.to) hdr(host),host_only if !{ var(txn.to) -m found }",
        "http-request set-dst var(txn.to)",
        "http-request set-dst-port hdr(host),port_only",
    )
    assert seen(audited(SERVER, forward)) == [("open", "ha-set-dst", 6)]
    tls = """listen tls
 mode tcp
 bind *:443
 tcp-request inspect-delay 5s
 tcp-request content do-resolve(sess.to,lab,ipv4) req.ssl_sni if { req.ssl_hello_type 1 }
 tcp-request content set-dst var(sess.to) if { var(sess.to) -m found }
 tcp-request content accept if { req.ssl_hello_type 1 }
 tcp-request content reject
 server any 0.0.0.0:443
"""
    assert seen(audited(SERVER, tls)) == [("open", "ha-set-dst", 6)]
    own = "http-request deny deny_status 403 unless { hdr(host) -m beg own.example.org }"
    assert audited(SERVER, listen(own, server="server app 127.0.0.1:9000")).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    "lines",
    [
        [SET + " if { method GET }"],
        [SET, "http-request deny if { hdr(host) -i www.example.org }"],
        [SET, "http-request deny if { path_beg /private }"],
        [SET, "http-request allow", "http-request deny"],
        ["acl own src 10.0.0.0/8", SET, "http-request allow if !own", "http-request deny"],
        ["acl any src 0.0.0.0/0 ::/0", "http-request deny unless any", SET],
        [SET, "http-request deny if FALSE or LOCALHOST"],
        [SET, "http-request deny unless TRUE || METH_CONNECT"],
        [SET, "http-request deny unless { hdr(host) -m found }"],
        [SET, "http-request deny unless { hdr_end(host) -i .example }"],
        [SET, "http-request deny unless { hdr_beg(host) -i www.example.org }"],
        [SET, "http-request deny unless { hdr(host) -m reg ^www\\.example\\.org }"],
        [SET, "http-request deny unless { hdr(host) -m reg example }"],
        [SET, "http-request deny if { always_false }"],
        ["http-request set-dst url_param(to)"],
        ["http-request set-dst req.hdr(X-To)"],
        [
            "http-request set-var(txn.a) path,field(2,/)",
            "http-request set-var(txn.b) var(txn.a)",
            "http-request set-dst var(txn.b)",
        ],
        [SET, "tcp-request connection accept", "tcp-request connection reject"],
    ],
)
def test_ways_to_let_a_stranger_choose(lines: list[str]) -> None:
    assert audited(SERVER, listen(*lines)).verdict is AuditVerdict.OPEN


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [SET, "http-request deny"],
        ["http-request allow", SET],  # whoever is let through comes to no later rule
        [SET, "http-request deny unless { src 10.0.0.0/8 192.0.2.1 host.example.org }"],
        ["acl own src 10.0.0.0/8", "acl own src 192.0.2.0/24", SET, "http-request deny if !own"],
        ["tcp-request connection reject if !{ src 10.0.0.0/8 }", SET],
        ["tcp-request session reject", SET],
        [SET, "http-request auth unless { http_auth(users) }"],
        [SET, "http-request deny unless { hdr(host) www.example.org }"],
        [SET, "http-request deny unless { hdr(host) -m reg ^www\\.example\\.org$ }"],
        [SET, "http-request deny unless { hdr(host) -m end -- .example.org }"],
        [SET, "http-request deny unless { ssl_c_used }"],
        [SET, "http-request deny unless { src_is_local }"],
        [SET, "http-request redirect location https://www.example.org/"],
        [SET, "http-request deny if ! { }"],
        ["http-request set-dst hdr(host),map(/etc/haproxy/hosts,192.0.2.1)"],
        ["http-request set-dst str(192.0.2.1)"],
        ["http-request set-dst dst"],
        ["http-request set-var(txn.to) str(192.0.2.1)", "http-request set-dst var(txn.to)"],
        ["http-request set-dst-port hdr(host),port_only"],
        ["http-request"],
    ],
)
def test_ways_that_keep_him_out(lines: list[str]) -> None:
    assert audited(SERVER, listen(*lines)).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    "lines",
    [
        [SET, "http-request deny if nosuch"],
        [SET, "http-request deny unless { lua.trusted }"],
        [SET, "http-request use-service lua.page if { path / }", "http-request deny"],
        ["http-request set-dst hdr(host),map_regm(/etc/haproxy/hosts)"],
        ["http-request set-var(txn.a) var(txn.a)", "http-request set-dst var(txn.a)"],
        ["option http_proxy"],
        [SET, "http-request deny unless { hdr(host) -m reg ^(?!elsewhere)[a-c]{4}x }"],
        [SET, "http-request deny unless { src -f /etc/haproxy/missing }"],
    ],
)
def test_what_is_not_evaluated(lines: list[str]) -> None:
    report = audited(SERVER, listen(*lines))
    assert report.verdict in {AuditVerdict.UNKNOWN, AuditVerdict.CLOSED}
    assert report.verdict is AuditVerdict.UNKNOWN


def front(*lines: str, back: tuple[str, ...] = (), mode: str = "http") -> str:
    mine = [f" {line}" for line in lines]
    theirs = [f" {line}" for line in back]
    head = ["frontend web", f" mode {mode}", " bind *:8080", *mine, " default_backend any", "backend any"]
    return "\n".join([*head, f" mode {mode}", *theirs, " server any 0.0.0.0:0", ""])


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (front("http-request allow", back=(SET,)), AuditVerdict.OPEN),
        (front("http-request allow", back=(SET, "http-request deny")), AuditVerdict.CLOSED),
        (front("tcp-request content accept", SET, back=("tcp-request content reject",)), AuditVerdict.CLOSED),
        (front(SET, mode="tcp"), AuditVerdict.CLOSED),
        (
            front("http-request deny", "tcp-request content set-dst req.ssl_sni", mode="tcp"),
            AuditVerdict.OPEN,
        ),
        (listen("http-request set-dst req.hdr_ip(x-to)"), AuditVerdict.OPEN),
        (listen("http-request set-dst url_ip"), AuditVerdict.OPEN),
        (
            listen("http-request set-var-fmt(txn.a) %[hdr(host)]", "http-request set-dst var(txn.a)"),
            AuditVerdict.OPEN,
        ),
        (
            listen("http-request set-var-fmt(txn.a) %[str(x)]", "http-request set-dst var(txn.a)"),
            AuditVerdict.CLOSED,
        ),
        (listen("option transparent", server=""), AuditVerdict.UNKNOWN),
        (listen("option transparent", SET, server=""), AuditVerdict.OPEN),
        (listen("option transparent", bind="bind *:8080 accept-proxy", server=""), AuditVerdict.OPEN_IF),
        (listen("option transparent", server="server a 192.0.2.1:80"), AuditVerdict.CLOSED),
        (listen(bind="bind *:8080 transparent"), AuditVerdict.UNKNOWN),
        (
            listen(
                "http-request set-var(txn.ok) bool(true) if { src 10.0.0.0/8 }",
                "http-request deny unless { var(txn.ok) -m found }",
                SET,
            ),
            AuditVerdict.CLOSED,
        ),
        (
            listen(
                "http-request set-var(txn.ok) bool(true) if { var(txn.ok) -m found }",
                "http-request deny unless { var(txn.ok) -m found }",
                SET,
            ),
            AuditVerdict.CLOSED,
        ),
        (
            listen(
                "http-request deny if { var(txn.late) -m found }",
                "http-request set-var(txn.late) bool(true)",
                SET,
            ),
            AuditVerdict.OPEN,
        ),
        (
            listen(
                "acl late var(txn.late) -m found",
                "http-request deny if late",
                "http-request set-var(txn.late) bool(true)",
                SET,
            ),
            AuditVerdict.OPEN,
        ),
        (
            listen(
                "http-request deny if { var(sess.late) -m found }",
                "http-request set-var(sess.late) bool(true)",
                SET,
            ),
            AuditVerdict.UNKNOWN,
        ),
        (
            listen(
                "http-request deny unless { var(sess.late) -m found }",
                "http-request set-var(sess.late) bool(true)",
                SET,
            ),
            AuditVerdict.UNKNOWN,
        ),
        (
            listen(
                "http-request set-var(txn.ok) bool(true)",
                "http-request unset-var(txn.ok)",
                "http-request deny if { var(txn.ok) -m found }",
                SET,
            ),
            AuditVerdict.UNKNOWN,
        ),
        (listen("http-request deny unless { var(txn.ok,no) -m found }", SET), AuditVerdict.OPEN),
        (listen("http-request deny if { var(txn.ok,no) -m found }", SET), AuditVerdict.CLOSED),
        (listen("http-request deny if { always_true }", SET), AuditVerdict.CLOSED),
        (listen("tcp-request content reject if WAIT_END", SET), AuditVerdict.CLOSED),
        (listen("http-request deny unless { src,map_ip(/etc/haproxy/geo) KR }", SET), AuditVerdict.UNKNOWN),
        (
            listen("http-request deny unless { hdr(host),map(/etc/haproxy/ok) -m found }", SET),
            AuditVerdict.UNKNOWN,
        ),
        (listen("http-request deny unless { hdr(host,-1),lower -m found }", SET), AuditVerdict.OPEN),
        (listen("http-request deny if { hdr(host) -m reg elsewhere }", SET), AuditVerdict.OPEN),
        (listen("http-request deny if { hdr(host) -m reg . }", SET), AuditVerdict.CLOSED),
        (listen(SET) + ".if defined(OPEN)\n http-request deny\n.endif\n", AuditVerdict.UNKNOWN),
        (listen(".if defined(OPEN)", SET, ".endif"), AuditVerdict.UNKNOWN),
        (listen("http-request lua.guard", SET), AuditVerdict.UNKNOWN),
        (listen("http-request lua.choose", "http-request set-dst var(txn.to)"), AuditVerdict.UNKNOWN),
        (listen("http-request set-dst lua.where"), AuditVerdict.UNKNOWN),
        (listen("http-request set-dst str(),concat(,txn.a,)"), AuditVerdict.UNKNOWN),
    ],
)
def test_what_haproxy_itself_made_of_it(text: str, verdict: AuditVerdict) -> None:
    assert audited(SERVER, text).verdict is verdict  # HAProxy 2.6.12, and what it leaves to others is unknown


def test_a_name_that_no_backend_has_leads_to_the_default() -> None:
    text = front("use_backend %[hdr(x)]", back=(SET,)) + "backend own\n server a 192.0.2.1:80\n"
    assert audited(SERVER, text).verdict is AuditVerdict.OPEN


def test_a_field_that_has_to_be_sent() -> None:
    report = audited(SERVER, listen(SET, "http-request deny unless { hdr(X-Key) secret }"))
    assert report.verdict is AuditVerdict.OPEN_IF
    assert "X-Key: secret" in report.findings[0].witness


def test_lists_of_addresses_in_files() -> None:
    files = {
        "/etc/haproxy/haproxy.cfg": listen(SET, "http-request deny unless { src -f /etc/haproxy/own }"),
        "/etc/haproxy/own": "# ours\n10.0.0.0/8 1\n\n",
    }
    assert audited(SERVER, files).verdict is AuditVerdict.CLOSED
    assert audited(SERVER, {**files, "/etc/haproxy/own": "0.0.0.0/0\n"}).verdict is AuditVerdict.OPEN


def test_frontends_and_their_backends() -> None:
    text = """defaults
 mode http
frontend web
 bind *:80
 bind unix@/run/x
 acl special hdr(host) -i special.example.org
 use_backend own if special
 use_backend gone if special
 default_backend any
backend own
 server a 192.0.2.1:80
backend any
 http-request set-dst hdr(host)
 server any 0.0.0.0
"""
    finding = only(audited(SERVER, text))
    assert (finding.service, finding.line) == ("frontend web", 13)
    assert audited(SERVER, text.replace("default_backend any", "")).verdict is AuditVerdict.CLOSED
    dynamic = text.replace("use_backend own if special", "use_backend %[hdr(host)]").replace(
        "default_backend any", ""
    )
    assert audited(SERVER, dynamic).verdict is AuditVerdict.OPEN
    shadowed = text.replace("use_backend own if special", "use_backend own")
    assert audited(SERVER, shadowed).verdict is AuditVerdict.CLOSED


def test_defaults_are_inherited() -> None:
    before = "defaults a\n http-request deny\ndefaults b\n"
    assert audited(SERVER, listen(SET, before=before)).verdict is AuditVerdict.OPEN
    text = listen(SET, before=before).replace("listen web", "listen web from a")
    assert audited(SERVER, text).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    "bind",
    [
        "bind 127.0.0.1:8080",
        "bind [::1]:8080",
        "bind /run/x.sock",
        "bind abns@x",
        "bind ipv4@127.0.0.1:1,unix@/x",
    ],
)
def test_what_no_stranger_reaches(bind: str) -> None:
    assert audited(SERVER, listen(SET, bind=bind)).verdict is AuditVerdict.CLOSED


def test_a_proxy_header_names_the_destination() -> None:
    finding = only(audited(SERVER, listen(bind="bind *:8080 accept-proxy")))  # seen with HAProxy 2.6.12
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.OPEN_IF, "ha-accept-proxy", 3)
    assert audited(SERVER, listen(bind="bind *:8080")).verdict is AuditVerdict.CLOSED


def test_in_front_of_mail_it_hides_clients_which_is_the_mail_servers_to_judge() -> None:
    report = audited(SERVER, listen(server="server mail 192.0.2.1:25"))
    assert report.verdict is AuditVerdict.CLOSED
    assert "hides who comes" in report.gaps[0].subject
    assert not audited(SERVER, listen(server="server mail 192.0.2.1:25 send-proxy-v2")).gaps


@pytest.mark.parametrize(
    "text",
    [
        listen(SET),
        listen("tcp-request content set-dst req.ssl_sni"),
        listen(bind="bind *:8080 accept-proxy"),
    ],
)
@pytest.mark.parametrize("allowed", [(), ("10.1.0.0/16", "2001:db8::/32")])
def test_mending_closes_it(text: str, allowed: tuple[str, ...]) -> None:
    assert mending(SERVER, text, allowed=allowed).report.verdict is AuditVerdict.CLOSED


def test_mending_keeps_the_owners_networks() -> None:
    [text] = mended_texts(SERVER, listen(SET), allowed=["10.1.0.0/16"]).values()
    assert f" http-request deny unless {{ src 10.1.0.0/16 }}\n {SET}\n" in text
    assert mending(SERVER, listen("option http_proxy")).after == {}


def test_what_cannot_be_read() -> None:
    assert audited(SERVER, 'listen a\n bind "x\n').verdict is AuditVerdict.UNKNOWN
    assert audited(SERVER, "\x00").verdict is AuditVerdict.UNKNOWN
    assert audited(SERVER, "stray line\nglobal\n daemon\n").verdict is AuditVerdict.UNKNOWN


WORDS = st.sampled_from(
    [
        "acl",
        "a",
        "src",
        "{",
        "}",
        "!",
        "if",
        "unless",
        "-m",
        "reg",
        "(",
        "-f",
        "hdr(host)",
        "http-request",
        "deny",
        "set-dst",
        "var(a)",
        "use_backend",
        "b",
        "or",
        "server",
        "0.0.0.0",
    ]
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(WORDS, min_size=1, max_size=8).map(" ".join), max_size=10)
    | st.lists(st.text(max_size=50), max_size=3)
)
def test_nothing_makes_it_fail(lines: list[str]) -> None:
    audited(SERVER, listen(*lines, SET))
