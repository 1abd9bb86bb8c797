"""Varnish: backends out of the request, what refuses before them, and mending."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import audited, mending, seen

from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.servers.varnish import SERVER

HEAD = 'vcl 4.1;\nimport dynamic;\nbackend default { .host = "192.0.2.1"; }\n'
INIT = 'sub vcl_init {\n  new d = dynamic.director(port = "80");\n  new r = directors.round_robin();\n}\n'
ACL = 'acl own { "localhost"; "10.0.0.0"/8; ! "10.1.0.0"/16; }\nacl wide { "198.0.0.0"/8; }\n'
SET = "  set req.backend_hint = d.backend(req.http.host);\n"


def recv(text: str) -> str:
    return HEAD + INIT + ACL + "sub vcl_recv {\n" + text + "}\n"


@pytest.mark.parametrize(
    "text",
    [
        SET,
        "  set req.backend_hint = d.backend();\n",
        '  set req.backend_hint = d.backend(req.http.X-Host, "80");\n',
        SET + "  return (pass);\n",
        SET.replace("d.", "goto."),
        '  if (req.method == "PURGE") { return (synth(405)); }\n' + SET,
        '  if (req.http.host ~ "elsewhere") {\n' + SET + "  }\n",
        '  if (req.http.host == "www.example.org") { return (pass); } else {\n' + SET + "  }\n",
        "  call there;\n}\nsub there {\n" + SET,
        "  if (client.ip ~ own) { return (hash); }\n" + SET,
        "  if (req.http.host) {\n" + SET + "  }\n",
    ],
)
def test_a_backend_out_of_the_request_is_open(text: str) -> None:
    report = audited(SERVER, recv(text))
    assert [(one.verdict.value, one.rule) for one in report.findings] == [("open", "va-dynamic")]
    assert "set req.backend_hint" in report.findings[0].causes[0].text
    assert report.findings[0].line >= 10


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (
            '  if (req.http.host != "www.example.org") { return (synth(421)); }\n'
            + SET.replace("host)", "X-To)"),
            "open",
        ),
        ('  if (req.http.host ~ "elsewhere") { return (synth(403)); }\n' + SET, "open"),
        ("}\nsub vcl_pass {\n" + SET, "open"),
        ("}\nsub vcl_miss {\n  return (synth(403));\n}\nsub vcl_pipe {\n" + SET, "open"),
        ("  return (vcl(other));\n", "unknown"),
        (SET + '  if (req.url ~ "x") { return (vcl(other)); }\n  return (synth(403));\n', "unknown"),
    ],
)
def test_other_words_other_subroutines_and_other_programs(text: str, verdict: str) -> None:
    assert audited(SERVER, recv(text)).verdict.value == verdict


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  # set req.backend_hint = d.backend(req.http.host);\n",
        "  /* " + SET + " */\n",
        "  set req.backend_hint = default;\n",
        "  set req.backend_hint = r.backend();\n",
        "  set req.backend_hint = r.backend(req.http.host);\n",
        '  set req.backend_hint = d.backend("www.example.org", "80");\n',
        SET + "  set req.backend_hint = default;\n",
        SET + "  return (synth(403));\n",
        "  if (client.ip !~ own) { return (synth(403)); }\n" + SET,
        "  if (!(client.ip ~ own)) { return (fail); }\n" + SET,
        '  if (req.http.host !~ "^(www\\.)?example\\.org$") { return (synth(421)); }\n' + SET,
        '  if (req.http.host == "a.example.org" || req.http.host == "b.example.org") {\n' + SET + "  }\n",
        '  if (req.url ~ "^/a" && client.ip ~ own) {\n' + SET + "  }\n",
        '  if (req.http.host != "a.example.org") { return (synth(1)); } elsif (req.url ~ "x") { return (pass); }\n'
        + SET,
    ],
)
def test_what_keeps_strangers_out(text: str) -> None:
    assert audited(SERVER, recv(text)).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    ("text", "witness"),
    [
        ("  if (client.ip !~ wide) { return (synth(403)); }\n" + SET, "from 198.0.0.0/8"),
        ('  if (req.http.x-key == "s") {\n' + SET + "  }\n", "x-key: s"),
    ],
)
def test_what_has_to_be_claimed(text: str, witness: str) -> None:
    report = audited(SERVER, recv(text))
    assert report.verdict is AuditVerdict.OPEN_IF
    assert witness in report.findings[0].witness


@pytest.mark.parametrize(
    "text",
    [
        "  if (std.ip(req.http.x) ~ own) {\n" + SET + "  }\n",
        "  if (client.ip ~ gone) {\n" + SET + "  }\n",
        '  if (req.http.host ~ "(") {\n' + SET + "  }\n",
        "  set req.backend_hint = q.backend(x);\n",
        "  set req.backend_hint = names.lookup(req.http.host);\n",
        '  if (beresp.status == "1") {\n' + SET + "  }\n",
        "  }\n}\n",
        "  {\n",
    ],
)
def test_what_is_not_evaluated_is_unknown(text: str) -> None:
    report = audited(SERVER, recv(text))
    assert report.verdict is AuditVerdict.UNKNOWN
    assert report.gaps


def test_files_are_taken_in_and_the_backend_s_side_is_run() -> None:
    files = {
        "/etc/varnish/default.vcl": HEAD + 'include "/etc/varnish/more.vcl";\n',
        "/etc/varnish/more.vcl": "sub vcl_backend_fetch {\n  set bereq.backend = goto.dns_backend(bereq.http.host);\n}\n",
    }
    report = audited(SERVER, files)
    assert seen(report) == [("open", "va-dynamic", 2)]
    assert not mending(SERVER, files).after
    loop = audited(SERVER, HEAD + 'include "default.vcl";\n')
    assert loop.verdict is AuditVerdict.UNKNOWN


@pytest.mark.parametrize("allowed", [(), ("198.51.100.0/24", "2001:db8::/32")])
def test_mending_refuses_strangers(allowed: tuple[str, ...]) -> None:
    outcome = mending(SERVER, recv(SET), allowed=allowed)
    assert outcome.report.verdict is AuditVerdict.CLOSED
    wanted = "client.ip !~ own_clients" if allowed else 'return (synth(403, "Forbidden"));'
    assert wanted in outcome.diff
    assert ('+    "198.51.100.0"/24;' in outcome.diff) is bool(allowed)


WORDS = st.sampled_from(["if (", ")", "{", "}", "else", "set req.backend_hint = d.backend()", ";", "return (pass)", "!", "&&", '"',
                         "client.ip ~ own", "req.http.host", "call there", "include", "\n"])  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.lists(WORDS, max_size=30).map(" ".join) | st.text(max_size=200))
def test_nothing_makes_it_fail(text: str) -> None:
    audited(SERVER, recv(text))


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.sampled_from([SET, "  return (pass);\n", "  return (synth(403));\n"]), max_size=4).map(
        "".join
    )
)
def test_a_refusal_before_all_else_closes(text: str) -> None:
    assert audited(SERVER, recv("  return (synth(403));\n" + text)).verdict is AuditVerdict.CLOSED
