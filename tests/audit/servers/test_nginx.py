"""nginx: every row of the field's matrix, variables by whatever way, and mending."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import audited, mended_texts, mending, only, seen

from relaywatch.audit.findings import AuditVerdict, GapKind
from relaywatch.audit.servers.nginx import SERVER


def http(*inside: str) -> str:
    return "events {}\nhttp {\n" + "\n".join(inside) + "\n}\n"


def server(*inside: str, listen: str = "listen 80;") -> str:
    return "server {\n" + listen + "\n" + "\n".join(inside) + "\n}"


def location(*inside: str, at: str = "/") -> str:
    return f"location {at} {{\n" + "\n".join(inside) + "\n}"


def stream(*inside: str, before: str = "") -> str:
    return (
        "stream {\n" + before + "\nserver {\nlisten 443;\nssl_preread on;\n" + "\n".join(inside) + "\n}\n}\n"
    )


NOBODY = server("server_name _;", "return 444;", listen="listen 80 default_server;")


def test_the_host_field_is_open() -> None:
    finding = only(audited(SERVER, http(server(location("proxy_pass http://$http_host$request_uri;")))))
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.OPEN, "ng-variable", 6)
    assert finding.advisory == "RW-2006"


def test_the_host_of_the_request_with_a_resolver_is_open() -> None:
    text = http(server("resolver 192.0.2.53;", location("proxy_pass $scheme://$host$request_uri;")))
    assert seen(audited(SERVER, text)) == [("open", "ng-variable", 7)]


def test_the_host_inside_one_named_server_is_closed_and_the_host_field_is_not() -> None:
    named = "server_name www.example.org;"
    text = http(NOBODY, server(named, location("proxy_pass $scheme://$host$request_uri;")))
    assert audited(SERVER, text).verdict is AuditVerdict.CLOSED  # both seen with nginx 1.22.1
    text = http(NOBODY, server(named, location("proxy_pass http://$http_host$request_uri;")))
    finding = only(audited(SERVER, text))
    assert finding.verdict is AuditVerdict.OPEN
    assert "by Host, GET http://www.example.org/" in finding.witness


def test_the_first_server_of_a_port_gets_what_no_other_names() -> None:
    passing = location("proxy_pass http://$host;")
    named = server("server_name a.example.org;", passing)
    assert audited(SERVER, http(named)).verdict is AuditVerdict.OPEN
    other = server("server_name b.example.org;", listen="listen 0.0.0.0:80;")
    assert audited(SERVER, http(other, named)).verdict is AuditVerdict.CLOSED
    assert (
        audited(SERVER, http(named, other.replace("0.0.0.0:80", "80 default"))).verdict is AuditVerdict.CLOSED
    )
    assert (
        audited(SERVER, http(server("server_name a;", passing, listen=""), other)).verdict
        is AuditVerdict.OPEN
    )


def test_a_server_that_takes_every_name_goes_before_the_default() -> None:
    taking = server("server_name ~^(.+)$;", "return 444;")
    assert (
        audited(SERVER, http(server(location("proxy_pass http://$host;")), taking)).verdict
        is AuditVerdict.CLOSED
    )
    by_word = http(server(location("proxy_pass http://$arg_to;")), taking)
    assert audited(SERVER, by_word).verdict is AuditVerdict.OPEN  # for HTTP/1.0 without a Host field
    some = server("server_name *.example;", "return 444;")
    assert (
        audited(SERVER, http(server(location("proxy_pass http://$host;")), some)).verdict is AuditVerdict.OPEN
    )


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("~^(?<sub>.+)$", AuditVerdict.OPEN),
        ("*.example", AuditVerdict.OPEN),
        (".example", AuditVerdict.OPEN),
        ("~^www\\d\\.own\\.example\\.org$", AuditVerdict.CLOSED),
        ("~(", AuditVerdict.UNKNOWN),
        ("_", AuditVerdict.CLOSED),
        ("*.own.example.org", AuditVerdict.CLOSED),
    ],
)
def test_names_that_mean_any_host(name: str, verdict: AuditVerdict) -> None:
    text = http(NOBODY, server(f"server_name {name};", location("proxy_pass http://$host;")))
    assert audited(SERVER, text).verdict is verdict


@pytest.mark.parametrize(
    "inside",
    [
        location("proxy_pass http://$arg_url;"),
        location("proxy_pass $arg_url;"),
        location("proxy_pass http://${http_x_backend}/;"),
        location("proxy_pass http://$cookie_backend:8080;"),
        location("grpc_pass grpc://$host:50051;"),
        location("fastcgi_pass $host:9000;"),
        location("proxy_pass http://$1;", at="~ ^/proxy/(.*)$"),
        location("proxy_pass http://$target/$rest;", at="~* ^/p/(?<target>[^/]+)/(?<rest>.*)$"),
        location("proxy_pass http://backend$1;", at="~ ^/x(.*)$"),
        location("set $up $host;", "proxy_pass http://$up;"),
        "set $up $http_host;" + location("proxy_pass http://$up;"),
        location("rewrite ^/go/(.*)$ /$1 break;", "proxy_pass http:/$uri;", at="/go/"),
        location("if ($uri ~ ^/go/(.+)$) {\nproxy_pass http://$1;\n}"),
        location(location("proxy_pass http://$host;", at="/a/b"), at="/a"),
        location("proxy_pass http://$host;", at="= /x"),
        location("error_page 404 = @named;", "return 404;")
        + location("proxy_pass http://$host;", at="@named"),
        location("limit_except GET {\nproxy_pass http://$host;\n}"),
        location("if ($request_method = POST) {\nreturn 405;\n}", "proxy_pass http://$host;"),
        location("if ($host = www.example.org) {\nreturn 403;\n}", "proxy_pass http://$host;"),
        location("if ($host) {\nset $up $host;\n}", "proxy_pass http://$up;"),
        location("if (!-f $request_filename) {\nset $up $host;\n}", "proxy_pass http://$up;"),
        location("if ($http_x_key !~ (a) {\nreturn 403;\n}", "proxy_pass http://$host;").replace("(a)", "^a"),
        location("if ($arg_to ~* ^to-(.+)$) {\nset $up $1;\n}", "proxy_pass http://$up;"),
        location("if ($host != www.example.org) {\nreturn 403;\n}", "proxy_pass http://$http_x_to:80;"),
        location("if ($host != www.example.org) {\nreturn 403;\n}", "proxy_pass http://$http_host;"),
        location("allow 10.0.0.0/8;", "proxy_pass http://$host;"),
        location("deny 10.0.0.0/8;", "allow all;", "proxy_pass http://$host;"),
        "deny all;" + location("allow all;", "proxy_pass http://$host;"),
        location("auth_basic off;", "proxy_pass http://$host;"),
        location("satisfy any;", "auth_basic x;", "allow all;", "proxy_pass http://$host;"),
    ],
)
def test_ways_to_a_host_of_the_clients(inside: str) -> None:
    report = audited(SERVER, http(server(inside)))
    assert report.verdict is AuditVerdict.OPEN
    assert {rule for _, rule, _ in seen(report)} == {"ng-variable"}


@pytest.mark.parametrize(
    "inside",
    [
        location("proxy_pass http://192.0.2.31:8080;", "proxy_set_header Host $host;"),
        location("proxy_pass http://192.0.2.31$request_uri;"),
        location("proxy_pass http://192.0.2.31:8080$1;", at="~ ^/x(.*)$"),
        location("proxy_pass http://192.0.2.31/$1;", at="~ ^/x(.*)$"),
        location("proxy_pass http://192.0.2.31:8080;", at="~ ^/x(.*)$"),
        location("if ($http_x_key ~ ^a) {\nset $b 1;\n}", "proxy_pass http://$1;", at="~ ^/x/(.*)$"),
        location("proxy_pass http://$1.own.example.org;", at="~ ^/(a|b)$"),
        location("proxy_pass http://$server_addr:$server_port;"),
        location("proxy_pass http://$remote_addr;"),
        location("set $up 192.0.2.1;", "proxy_pass http://$up;"),
        location("return 403;", "proxy_pass http://$host;"),
        "return 301 https://www.example.org;" + location("proxy_pass http://$host;"),
        location("rewrite ^ https://www.example.org permanent;", "proxy_pass http://$host;"),
        location("if ($host !~ ^(www\\.)?example\\.org$) {\nreturn 444;\n}", "proxy_pass http://$host;"),
        location("if ($host != www.example.org) {\nreturn 444;\n}", "proxy_pass http://$host;"),
        location("deny all;", "proxy_pass http://$host;"),
        "allow 10.0.0.0/8;\ndeny all;" + location("proxy_pass http://$host;"),
        location("allow 192.0.2.1;", "allow unix:;", "deny all;", "proxy_pass http://$host;"),
        location('auth_basic "x";', "proxy_pass http://$host;"),
        location(
            "satisfy any;", "auth_basic x;", "allow 10.0.0.0/8;", "deny all;", "proxy_pass http://$host;"
        ),
        location("satisfy any;", "auth_basic x;", "proxy_pass http://$host;"),
        location("proxy_pass http://$host;", at="= /x").replace("proxy_pass", "proxy_set_header X"),
        location("proxy_pass;", "proxy_pass http://$5;"),
        "# proxy_pass http://$host;",
    ],
)
def test_what_leads_to_no_outside_host(inside: str) -> None:
    assert audited(SERVER, http(server(inside))).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    ("mapping", "verdict"),
    [
        ("map $host $up { www.example.org 192.0.2.1; default 127.0.0.1:1; }", AuditVerdict.CLOSED),
        ("map $host $up { default $host; }", AuditVerdict.OPEN),
        ("map $http_x $up { ~^to:(.+)$ $1; default 127.0.0.1; }", AuditVerdict.OPEN),
        ("map $http_x $up { ~*^TO:(?<it>.+)$ $it; default 127.0.0.1; }", AuditVerdict.OPEN),
        ("map $host $up { hostnames; *.example $host; default 127.0.0.1; }", AuditVerdict.OPEN),
        ("map $host $up { hostnames; .example.org $host; default 127.0.0.1; }", AuditVerdict.CLOSED),
        ("map $host $up { ~^a$ $host; }", AuditVerdict.CLOSED),
        ("map $host $up { elsewhere.example $host; }", AuditVerdict.OPEN),
        ("map $host $up { ~( $host; }", AuditVerdict.UNKNOWN),
        ("map $up $up { default $up; }", AuditVerdict.UNKNOWN),
        ("geo $up { default 192.0.2.1; }", AuditVerdict.UNKNOWN),
    ],
)
def test_maps_are_followed(mapping: str, verdict: AuditVerdict) -> None:
    text = http(mapping, server(location("proxy_pass http://$up;")))
    assert audited(SERVER, text).verdict is verdict


def test_an_upstream_by_a_variable_name_is_ones_own() -> None:
    text = http(
        "upstream elsewhere.example { server 192.0.2.1; }", server(location("proxy_pass http://$host;"))
    )
    assert audited(SERVER, text).verdict is not AuditVerdict.UNKNOWN


@pytest.mark.parametrize(
    "inside",
    [
        location("auth_request /auth;", "proxy_pass http://$host;"),
        location("proxy_pass http://$lua_made;"),
        location("internal;", "proxy_pass http://$host;"),
        location("include missing.conf;", "proxy_pass http://$host;"),
    ],
)
def test_what_is_not_evaluated_is_unknown(inside: str) -> None:
    report = audited(SERVER, http(server(inside)))
    assert report.verdict is AuditVerdict.UNKNOWN
    assert report.gaps


@pytest.mark.parametrize(
    ("inside", "verdict", "port"),
    [
        ("proxy_connect;", AuditVerdict.OPEN, ":443"),
        ("proxy_connect;\nproxy_connect_allow all;", AuditVerdict.OPEN, ":25"),
        ("proxy_connect;\nproxy_connect_allow 1-1024;", AuditVerdict.OPEN, ":25"),
        ("proxy_connect;\nproxy_connect_allow 563;", AuditVerdict.OPEN, ":563"),
        ("proxy_connect;\nproxy_connect_allow none;", AuditVerdict.CLOSED, ""),
        ("proxy_connect;\nallow 10.0.0.0/8;\ndeny all;", AuditVerdict.CLOSED, ""),
        ("proxy_connect;\nreturn 403;", AuditVerdict.CLOSED, ""),
        ("tunnel_pass;", AuditVerdict.OPEN, ":25"),
        ("tunnel_pass $host:$request_port;", AuditVerdict.OPEN, ":25"),
        ("tunnel_pass 192.0.2.1:443;", AuditVerdict.CLOSED, ""),
        ("tunnel_allow_upstream $ok;\ntunnel_pass;", AuditVerdict.UNKNOWN, ""),
    ],
)
def test_connect_modules(inside: str, verdict: AuditVerdict, port: str) -> None:
    report = audited(SERVER, http(server(inside)))
    assert report.verdict is verdict
    if port:
        assert report.findings[0].rule == "ng-connect"
        assert port in report.findings[0].witness
    assert audited(SERVER, http(NOBODY, server("server_name a;", inside))).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    ("inside", "before", "verdict"),
    [
        ("proxy_pass $ssl_preread_server_name:443;", "", AuditVerdict.OPEN),
        (
            "proxy_pass $up;",
            "map $ssl_preread_server_name $up { default $ssl_preread_server_name:443; }",
            AuditVerdict.OPEN,
        ),
        (
            "proxy_pass $up:443;",
            "map $ssl_preread_server_name $up { ~^(.+)\\.via\\.test$ $1; default 127.0.0.1; }",
            AuditVerdict.OPEN,
        ),
        (
            "proxy_pass $up;",
            "map $ssl_preread_server_name $up { a.example.org 192.0.2.1:443; default 127.0.0.1:1; }",
            AuditVerdict.CLOSED,
        ),
        ("proxy_pass $unknown;", "", AuditVerdict.UNKNOWN),
        ("proxy_pass $ssl_preread_server_name:443;\nallow 10.0.0.0/8;\ndeny all;", "", AuditVerdict.CLOSED),
        ("proxy_pass 192.0.2.1:443;", "", AuditVerdict.CLOSED),
        ("return 1;", "", AuditVerdict.CLOSED),
    ],
)
def test_names_in_tls_hellos(inside: str, before: str, verdict: AuditVerdict) -> None:
    report = audited(SERVER, stream(inside, before=before))
    assert report.verdict is verdict
    if verdict is AuditVerdict.OPEN:
        assert (report.findings[0].rule, report.findings[0].advisory) == ("ng-stream-name", "RW-2015")


def test_in_front_of_mail_it_hides_clients_which_is_the_mail_servers_to_judge() -> None:
    report = audited(SERVER, stream("proxy_pass 192.0.2.1:25;"))
    assert report.verdict is AuditVerdict.CLOSED
    assert "hides who comes" in report.gaps[0].subject
    assert not audited(SERVER, stream("proxy_pass 192.0.2.1:25;\nproxy_protocol on;")).gaps
    assert audited(SERVER, "mail {\nserver { listen 25; }\n}\n").gaps
    nothing = audited(SERVER, "mail {\nxclient on;\n}\n")
    assert [gap.kind.value for gap in nothing.gaps] == ["no-listener"], "nothing is in front of anything"


@pytest.mark.parametrize(
    ("lines", "claim"),
    [
        ("set_real_ip_from 0.0.0.0/0;", "X-Real-IP: 10.0.0.0"),
        ("set_real_ip_from 0.0.0.0/0;\nreal_ip_header X-Forwarded-For;", "X-Forwarded-For: 10.0.0.0"),
        ("set_real_ip_from all;\nreal_ip_header proxy_protocol;", "PROXY from 10.0.0.0"),
    ],
)
def test_addresses_that_the_client_writes(lines: str, claim: str) -> None:
    text = http(lines, server(location("allow 10.0.0.0/8;", "deny all;", "proxy_pass http://$host;")))
    report = audited(SERVER, text)
    assert report.verdict is AuditVerdict.OPEN_IF
    assert claim in report.findings[0].witness
    limited = lines.replace("0.0.0.0/0", "192.0.2.1").replace("all;", "192.0.2.1;")
    assert audited(SERVER, text.replace(lines, limited)).verdict is AuditVerdict.CLOSED


def test_listeners_and_bare_files() -> None:
    passing = location("proxy_pass http://$host;")
    assert audited(
        SERVER, http(server(passing, listen="listen 127.0.0.1:80;\nlisten unix:/run/x;"))
    ).verdict is (AuditVerdict.CLOSED)
    assert audited(SERVER, server(passing)).verdict is AuditVerdict.OPEN
    files = {
        "/etc/nginx/nginx.conf": "http {\ninclude sites-enabled/*;\ninclude /etc/nginx/conf.d/*.conf;\n}\n",
        "/etc/nginx/sites-enabled/a": server(passing),
    }
    assert audited(SERVER, files).findings[0].file == "/etc/nginx/sites-enabled/a"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("http {\ninclude nginx.conf;\n}\n", GapKind.LOOP),
        ("http {\nserver {\n", GapKind.SYNTAX),
        ("http {\n}\n}\n", GapKind.SYNTAX),
        ('http {\nserver { x "y; }\n}\n', GapKind.SYNTAX),
        ("http {\n;\n}\n", GapKind.SYNTAX),
        ("http {\nserver { x }\n}\n", GapKind.SYNTAX),
        ("worker_processes", GapKind.SYNTAX),
        ("\x00", GapKind.BINARY),
    ],
)
def test_what_cannot_be_read_is_told(text: str, kind: GapKind) -> None:
    report = audited(SERVER, text)
    assert report.verdict is AuditVerdict.UNKNOWN
    assert report.gaps[0].kind is kind


BROKEN = [
    http(server(location("    proxy_pass http://$http_host$request_uri;"))),
    http("server { listen 80; location / { proxy_pass http://$host; } }"),
    http("server {\nlisten 80;\nlocation / { proxy_pass http://$host; }\n}"),
    http(server("proxy_connect;")),
    http(server(location("allow all;", "if ($host) {\nproxy_pass http://$host;\n}"))),
    stream("proxy_pass $ssl_preread_server_name:443;"),
    http(
        "set_real_ip_from 0.0.0.0/0;",
        server(location("allow 10.0.0.0/8;", "deny all;", "proxy_pass http://$host;")),
    ),
]


@pytest.mark.parametrize("number", range(len(BROKEN)))
@pytest.mark.parametrize("allowed", [(), ("10.1.0.0/16", "2001:db8::/32")])
def test_mending_closes_it_and_keeps_the_owners_networks(number: int, allowed: tuple[str, ...]) -> None:
    outcome = mending(SERVER, BROKEN[number], allowed=allowed)
    if number == 1:  # three blocks on one line: nothing that an edit of whole lines is sure of
        assert not outcome.after
        return
    assert outcome.report.verdict is AuditVerdict.CLOSED
    if allowed and number != 6:
        assert "allow 10.1.0.0/16;" in outcome.diff


def test_mending_writes_little() -> None:
    [text] = mended_texts(SERVER, BROKEN[0], allowed=["10.1.0.0/16"]).values()
    assert "location / {\n    allow 10.1.0.0/16;\n    deny all;\n    proxy_pass" in text


@pytest.mark.parametrize(
    "inside",
    [
        location("proxy_pass http://192.0.2.31/;", at="~ ^/x"),
        location("proxy_pass http://192.0.2.31/a;", at="@named"),
        location("if ($host) {\nproxy_pass http://192.0.2.31/;\n}"),
    ],
)
def test_a_path_where_none_may_be_keeps_it_down(inside: str) -> None:
    finding = only(audited(SERVER, http(server(inside))))  # seen with nginx 1.22.1
    assert (finding.verdict, finding.rule) == (AuditVerdict.DOWN, "ng-path")


def test_what_no_edit_is_known_for_is_left_alone() -> None:
    text = http(
        "include trusted;", server(location("allow 10.0.0.0/8;", "deny all;", "proxy_pass http://$host;"))
    )
    files = {
        "/etc/nginx/nginx.conf": text,
        "/etc/nginx/trusted": "server_tokens off; set_real_ip_from all;\n",
    }
    assert mending(SERVER, files).after == {}
    included = {
        "/etc/nginx/nginx.conf": http(server(location("include passing;"))),
        "/etc/nginx/passing": "proxy_pass http://$host;\n",
    }
    assert mending(SERVER, included).after == {}


WORDS = st.sampled_from(
    [
        "server",
        "location",
        "{",
        "}",
        ";",
        "proxy_pass",
        "http://$host",
        "http://$1",
        "~",
        "^/(.*)$",
        "map",
        "$host",
        "$x",
        "if",
        "($x",
        "=",
        ")",
        "return",
        "set",
        '"',
        "\\",
        "include",
        "*",
        "rewrite",
        "listen",
        "allow",
        "deny",
        "all",
    ]
)


@settings(max_examples=80, deadline=None)
@given(st.lists(WORDS, max_size=40).map(" ".join) | st.text(max_size=200))
def test_nothing_makes_it_fail(text: str) -> None:
    audited(SERVER, "http {\n" + text)
    audited(SERVER, http(server(location(text))))
