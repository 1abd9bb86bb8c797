"""nginx 1.22.1 was run with each of these, a stranger asked it, and this is what it did."""

from __future__ import annotations

import pytest
from tests.audit.auditing import audited, only

from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.servers.nginx import SERVER

HOST = "proxy_pass http://$host;"
NOBODY = "server { listen 80 default_server; server_name _; return 444; }"


def http(*inside: str) -> str:
    return "\n".join(["events {}", "http {", *inside, "}", ""])


def server(*inside: str, name: str = "") -> str:
    named = [f"server_name {name};"] if name else []
    return "\n".join(["server {", "listen 80;", *named, *inside, "}"])


@pytest.mark.parametrize(
    ("inside", "verdict"),
    [
        ("location / { %s } location ~ . { return 403; }", AuditVerdict.CLOSED),
        ("location ~ ^/a { return 403; } location ~ . { %s }", AuditVerdict.OPEN),
        ("location ~ . { return 403; } location ~ ^/a { %s }", AuditVerdict.CLOSED),
        ("location / { %s } location ~ \\.php$ { return 403; }", AuditVerdict.OPEN),
        ("location ^~ / { %s } location ~ . { return 403; }", AuditVerdict.OPEN),
        ("location ^~ / { return 403; } location ~ . { %s }", AuditVerdict.CLOSED),
        ("location / { return 403; } location /p/ { %s }", AuditVerdict.OPEN),
        ("location = /p { return 403; } location = /q { %s }", AuditVerdict.OPEN),
        ("location /p { return 403; } location ~ ^/p { %s }", AuditVerdict.OPEN),
        ("location /p/ { location = /p/q { %s } } location ~ ^/p { return 403; }", AuditVerdict.OPEN),
        ("location @x { %s } location / { return 404; }", AuditVerdict.CLOSED),
        ("location @x { %s } location / { try_files $uri @x; }", AuditVerdict.OPEN),
        ("location @x { %s } location / { error_page 404 = @x; return 404; }", AuditVerdict.OPEN),
        ("location /x { rewrite ^ /y last; %s } location /y { return 403; }", AuditVerdict.CLOSED),
        ("location / { if ($host ~ (bad|worse)) { return 403; } %s }", AuditVerdict.OPEN),
    ],
)
def test_which_location_is_chosen(inside: str, verdict: AuditVerdict) -> None:
    assert audited(SERVER, http(server(inside.replace("%s", HOST)))).verdict is verdict


@pytest.mark.parametrize(
    "target",
    ["http://$1", "http://$1.own.example.org", "http://$up"],
)
def test_what_a_servers_name_captures(target: str) -> None:
    text = http(NOBODY, server(f"location / {{ proxy_pass {target}; }}", name="~^(?<up>.+)\\.via\\.test$"))
    finding = only(audited(SERVER, text))
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.OPEN, "ng-variable", 7)
    assert ".via.test/" in finding.witness


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("location ~ ^/([^/]+)$ { proxy_pass http://$1.own.example.org; }", "GET /elsewhere.example%3F"),
        ("location / { proxy_pass http://$arg_a.own.example.org; }", ""),
        ("location / { proxy_pass http://$host.own.example.org; }", "GET http://elsewhere.example?/"),
        (
            "if ($host ~ ^(.+)\\.via\\.test$) { set $up $1; } location / { proxy_pass http://$up; }",
            ".via.test/",
        ),
    ],
)
def test_a_question_mark_or_a_slash_ends_the_host(inside: str, said: str) -> None:
    finding = only(audited(SERVER, http(server(inside))))
    assert finding.verdict is AuditVerdict.OPEN
    assert said in finding.witness


def test_a_capture_of_fixed_names_leads_nowhere_else() -> None:
    text = http(
        NOBODY, server("location / { proxy_pass http://$1.own.example.org; }", name="~^(a|b)\\.via\\.test$")
    )
    assert audited(SERVER, text).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    "inside",
    [
        "location / { auth_basic $realm; proxy_pass http://$host; }",
        "location / { if ($made_up = '') { return 403; } proxy_pass http://$host; }",
        "location / { if ($host ~ (a+)+) { return 403; } proxy_pass http://$host; }",
        "location ~ (a+)+ { proxy_pass http://$host; }",
        "location ~ ^/(?=x)[a-c]{3}7 { proxy_pass http://$host; }",
        'location / { set $up ""; rewrite_by_lua_file set.lua; proxy_pass http://$up; }',
        "location / { access_by_lua_file guard.lua; proxy_pass http://$host; }",
        "location / { content_by_lua_file fetch.lua; }",
        "location / { js_content main.fetch; }",
        "location / { perl main::fetch; }",
    ],
)
def test_what_a_program_or_an_unknown_word_decides_is_unknown(inside: str) -> None:
    report = audited(SERVER, http(server(inside)))
    assert report.verdict is AuditVerdict.UNKNOWN
    assert report.gaps
