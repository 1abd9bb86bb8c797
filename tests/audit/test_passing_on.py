"""What hides strangers from a mail server: connections passed on without PROXY protocol."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.audit.addresses import NOBODY
from relaywatch.audit.auditing import report, setups
from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.passing_on import local_front_ends, passed_on
from relaywatch.audit.setup import FrontEnd
from relaywatch.audit.text import SourceFile
from relaywatch.audit.trees import NotReadError, TextTree

HAPROXY = """\
defaults
    mode tcp
listen smtp
    bind *:25,:2525 v6only
    bind [::]:587
    server mta 127.0.0.1:10025 check # remark
frontend submission
    bind :465
    use_backend two if { always }
    default_backend one
backend one
    server mta [::1]:465
    server told 127.0.0.1:466 send-proxy-v2
backend two
    default-server send-proxy
    server mta 127.0.0.1:467
backend three
    server mta 127.0.0.1:468
frontend web
    bind :80
    default_backend three
"""
NGINX = """\
# a remark; with { in it
stream {
    upstream mta { server 127.0.0.1:10025; server mail.example:25 weight=2; }
    server {
        listen 25;
        listen [::]:587;
        proxy_pass mta;
    }
    server { listen 465; proxy_protocol on; proxy_pass 127.0.0.1:465; }
    server { listen 2525; proxy_pass localhost:2525; proxy_bind $remote_addr transparent; }
}
http { server { listen 80; location / { proxy_pass http://127.0.0.1:8080; } } }
"""


def found(name: str, text: str) -> list[tuple[str, int, int, set[int]]]:
    source = SourceFile.of(name, text.encode())
    return [(one.host, one.port, one.line, set(one.listens)) for one in passed_on(source)]


def test_haproxy_passes_on_what_it_does_not_sign():
    assert found("haproxy.cfg", HAPROXY) == [
        ("127.0.0.1", 10025, 6, {25, 2525, 587}),
        ("::1", 465, 12, {465}),
        ("127.0.0.1", 468, 18, {80}),
    ]


@pytest.mark.parametrize("line", ["default-server send-proxy", "source 0.0.0.0 usesrc clientip"])
def test_what_the_defaults_sign_is_signed(line):
    assert found("haproxy.cfg", f"defaults\n  {line}\nlisten a\n  bind :25\n  server b 127.0.0.1:25\n") == []


def test_nginx_passes_on_what_it_does_not_sign():
    assert found("nginx.conf", NGINX) == [
        ("127.0.0.1", 10025, 7, {25, 587}),
        ("mail.example", 25, 7, {25, 587}),
    ]


def test_what_holds_round_a_block_holds_in_it():
    assert (
        found("nginx.conf", "stream { proxy_protocol on; server { listen 25; proxy_pass localhost:25; } }")
        == []
    )
    assert found("one.conf", "server { listen 25; proxy_pass localhost:25; }") == [("localhost", 25, 1, {25})]


@given(
    st.text(alphabet="{};# \n:listenproxy_pass25serv[]backend.", max_size=80),
    st.sampled_from(["a.cfg", "a.conf"]),
)
def test_any_text_is_read(text, name):
    lines = text.count("\n") + 1
    assert all(1 <= line <= lines for _, _, line, _ in found(name, text))


MAIN = "compatibility_level = 3.6\nmynetworks = 127.0.0.0/8\n"
MASTER = (
    "smtp inet n - y - - smtpd\n127.0.0.1:10025 inet n - y - - smtpd\n127.0.0.1:10026 inet n - y - - smtpd\n"
)


def told(files: dict[str, str], system: str = ""):
    laid = {f"{system}/etc/postfix/main.cf": MAIN, f"{system}/etc/postfix/master.cf": MASTER}
    tree = TextTree({**laid, **{f"{system}{name}": text for name, text in files.items()}})
    return {server.name: report(server, setup) for setup, server in setups(tree)}["postfix"]


@pytest.mark.parametrize("system", ["", "/copies/mail1"])
def test_a_mail_server_behind_one_on_the_same_machine_trusts_strangers(system):
    told_of = told({"/etc/haproxy/haproxy.cfg": HAPROXY}, system)
    assert told_of.verdict is AuditVerdict.OPEN_IF
    (finding,) = told_of.findings
    assert finding.service == "127.0.0.1:10025/inet", "and not the one that it doesn't lead to"
    assert finding.witness.startswith("through haproxy without PROXY protocol; ")
    assert told({"/etc/nginx/nginx.conf": NGINX}, system).verdict is AuditVerdict.OPEN_IF
    assert told({"/etc/nginx/stream.d/mail.conf": NGINX}, system).verdict is AuditVerdict.OPEN_IF


def test_without_one_or_signed_it_is_closed():
    assert told({}).verdict is AuditVerdict.CLOSED
    signed = HAPROXY.replace("10025 check", "10025 send-proxy")
    assert told({"/etc/haproxy/haproxy.cfg": signed}).verdict is AuditVerdict.CLOSED


def test_only_what_leads_to_this_machine_is_in_front_here():
    tree = TextTree(
        {
            "/etc/haproxy/haproxy.cfg": "listen a\n bind :25\n server b 192.0.2.1:25\n server c mail.example:25\n"
        }
    )
    assert list(local_front_ends(tree, "")) == []


def test_a_folder_that_cannot_be_listed_is_left_to_its_own_audit(monkeypatch):
    tree = TextTree({"/etc/haproxy/haproxy.cfg": HAPROXY})

    def refused(_path):
        raise NotReadError("Permission denied")

    monkeypatch.setattr(tree, "folder", refused)
    assert [str(front.position) for front in local_front_ends(tree, "")] == [
        "/etc/haproxy/haproxy.cfg:6",
        "/etc/haproxy/haproxy.cfg:12",
    ]


@pytest.mark.parametrize(
    ("ports", "port", "leads"),
    [
        ((), "25", True),
        ((25,), "smtp", True),
        ((25,), "587", False),
        ((587,), "submission", True),
        ((25,), "odd", True),
    ],
)
def test_a_front_end_leads_to_its_ports(ports, port, leads):
    front = FrontEnd(addresses=NOBODY, name="x", ports=frozenset(ports))
    assert front.leads_to(port) is leads
