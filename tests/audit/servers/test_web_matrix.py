"""The field's matrix and rules for the web's servers, row by row: verdict, rule and line of each.

What a row says that the server did is what was seen: nginx 1.22.1, Apache httpd 2.4.71, HAProxy 2.6.12, Squid 5.7,
Caddy 2.6.2. The rules behind them are told apart in the same way, and those that open nothing by themselves are closed.
"""

from __future__ import annotations

import pytest
from tests.audit.auditing import Files, audited, seen
from tests.audit.servers.test_envoy import OPEN as ENVOY_OPEN

from relaywatch.audit.server import load_servers

SQUID = "http_port 3128\n"
SAFE = "acl Safe_ports port 80 443 1025-65535\nacl SSL_ports port 443\n"
TWO_DENIES = SAFE + "http_access deny !Safe_ports\nhttp_access deny CONNECT !SSL_ports\n"
NGINX = "events {}\nhttp {\nserver {\nlisten 80 default_server;\n%s\n}\n}\n"
NAMED = (
    "events {}\nhttp {\nserver {\nlisten 80 default_server;\nreturn 444;\n}\n"
    "server {\nlisten 80;\nserver_name www.example.org;\nresolver 192.0.2.53;\nlocation / { proxy_pass $scheme://$host$request_uri; }\n}\n}\n"
)
APACHE = "Listen 8080\nProxyRequests On\n"
HAPROXY = "listen web\n mode http\n bind *:8080\n http-request set-dst hdr(host)\n server s 0.0.0.0:0\n"
VARNISH = "vcl 4.1;\nsub vcl_init { new d = dynamic.director(); }\nsub vcl_recv {\n set req.backend_hint = d.backend(req.http.host);\n}\n"
BY_CONNECT = "sq-allow-connect"

ROWS: dict[str, tuple[str, Files, list[tuple[str, str, int]]]] = {
    # 2.1
    "squid: shipped order, deny all last": ("squid", SQUID + TWO_DENIES + "http_access deny all\n", []),
    "squid: allow all first": (
        "squid",
        SQUID + "http_access allow all\nhttp_access deny all\n",
        [("open", BY_CONNECT, 2), ("open", "sq-allow", 2)],
    ),
    "squid: the two denies, then allow all": (
        "squid",
        SQUID + TWO_DENIES + "http_access allow all\n",
        [("open", BY_CONNECT, 6), ("open", "sq-allow", 6)],
    ),
    "squid: a single deny, no last line": (
        "squid",
        SQUID + "acl bad dstdomain .bad.example\nhttp_access deny bad\n",
        [("open", "sq-no-last", 3)],
    ),
    "squid: no http_access line": ("squid", SQUID, []),
    "squid: localnet of everything, no deny of CONNECT": (
        "squid",
        SQUID
        + "acl localnet src 0.0.0.0/0\n"
        + SAFE
        + "http_access deny !Safe_ports\nhttp_access allow localnet\n",
        [("open", "sq-acl-wide", 2)],
    ),
    "squid: allow CONNECT SSL_ports": (
        "squid",
        SQUID + SAFE + "http_access allow CONNECT SSL_ports\n",
        [("open", BY_CONNECT, 4)],
    ),
    "squid: an accelerator's port and a plain one, allow all": (
        "squid",
        "http_port 80 accel defaultsite=www.example.org\n" + SQUID + "http_access allow all\n",
        [("open", BY_CONNECT, 3), ("open", "sq-allow", 3)],
    ),
    "nginx: proxy_pass http://$http_host$request_uri": (
        "nginx",
        NGINX % "location / { proxy_pass http://$http_host$request_uri; }",
        [("open", "ng-variable", 5)],
    ),
    "nginx: proxy_pass $scheme://$host$request_uri and a resolver": (
        "nginx",
        NGINX % "resolver 192.0.2.53; location / { proxy_pass $scheme://$host$request_uri; }",
        [("open", "ng-variable", 5)],
    ),
    "nginx: the same inside one named server, the default returns 444": ("nginx", NAMED, []),
    "apache: ProxyRequests On, no Require": ("apache", APACHE, [("open", "ap-forward", 2)]),
    "apache: and AllowCONNECT 25 443": (
        "apache",
        APACHE + "AllowCONNECT 25 443\n",
        [("open", "ap-connect", 2), ("open", "ap-forward", 2)],
    ),
    "apache: and Proxy * denied": ("apache", APACHE + '<Proxy "*">\nRequire all denied\n</Proxy>\n', []),
    "apache: only one Proxy granted": (
        "apache",
        APACHE + '<Proxy "http://ok.example.org/*">\nRequire all granted\n</Proxy>\n',
        [("open", "ap-forward", 2)],
    ),
    "apache: ProxyRequests Off, RewriteRule to the Host field": (
        "apache",
        "Listen 80\nProxyRequests Off\nRewriteEngine On\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]\n",
        [("open", "ap-rewrite", 4)],
    ),
    "apache: ProxyRequests Off, ProxyPass to a fixed backend": (
        "apache",
        "Listen 80\nProxyRequests Off\nProxyPass / http://192.0.2.31/\n",
        [],
    ),
    "haproxy: set-dst from the Host field": ("haproxy", HAPROXY, [("open", "ha-set-dst", 4)]),
    "caddy: reverse_proxy {http.request.host}": (
        "caddy",
        ":80 {\n\treverse_proxy {http.request.host}:80\n}\n",
        [("open", "ca-upstream", 2)],
    ),
    "caddy: reverse_proxy {http.request.hostport}": (
        "caddy",
        ":80 {\n\treverse_proxy {http.request.hostport}\n}\n",
        [("open", "ca-upstream", 2)],
    ),
    # 2.2
    "SQ-CONNECT: mail among SSL_ports": (
        "squid",
        SQUID
        + "acl SSL_ports port 443 25\nhttp_access deny CONNECT !SSL_ports\nhttp_access deny !CONNECT\nhttp_access allow all\n",
        [("open", BY_CONNECT, 5)],
    ),
    "SQ-SAFEPORTS: mail among Safe_ports": (
        "squid",
        SQUID
        + "acl Safe_ports port 25 80\nhttp_access deny !Safe_ports\nhttp_access deny CONNECT\nhttp_access allow all\n",
        [("open", "sq-allow", 5)],
    ),
    "SQ-ORDER: allow above the two denies": (
        "squid",
        SQUID + "http_access allow all\n" + TWO_DENIES + "http_access deny all\n",
        [("open", BY_CONNECT, 2), ("open", "sq-allow", 2)],
    ),
    "SQ-TOLOCAL: nothing for strangers": (
        "squid",
        SQUID + TWO_DENIES + "acl lan src 10.0.0.0/8\nhttp_access allow lan\nhttp_access deny all\n",
        [],
    ),
    "SQ-XFF: X-Forwarded-For believed of all": (
        "squid",
        SQUID + "follow_x_forwarded_for allow all\nhttp_access allow localhost\n",
        [("open-if", "sq-forwarded-for", 2)],
    ),
    "SQ-ICP/HTCP/SNMP: nothing is relayed by them": (
        "squid",
        SQUID + "icp_access allow all\nhtcp_access allow all\nsnmp_access allow all\nhttp_access deny all\n",
        [],
    ),
    "AP-REWRITEP: ProxyPassMatch with the host in a capture": (
        "apache",
        'Listen 80\nProxyPassMatch "^/(.*)$" "http://$1"\n',
        [("open", "ap-passmatch", 2)],
    ),
    "NG-VARPASS: grpc_pass to a field": (
        "nginx",
        NGINX % "location / { grpc_pass grpc://$http_x_to:80; }",
        [("open", "ng-variable", 5)],
    ),
    "NG-STREAMSNI: proxy_pass to the name in the hello": (
        "nginx",
        "stream {\nserver {\nlisten 443;\nssl_preread on;\nproxy_pass $ssl_preread_server_name:443;\n}\n}\n",
        [("open", "ng-stream-name", 5)],
    ),
    "NG-CONNECTMOD: proxy_connect": ("nginx", NGINX % "proxy_connect;", [("open", "ng-connect", 5)]),
    "NG-CONNECTMOD: tunnel_pass": ("nginx", NGINX % "tunnel_pass;", [("open", "ng-connect", 5)]),
    "NG-SMTPX: the mail server's to judge": (
        "nginx",
        "stream {\nserver {\nlisten 25;\nproxy_pass 192.0.2.1:25;\n}\n}\n",
        [],
    ),
    "HA-SETDST: option transparent is the packet filter's": (
        "haproxy",
        "listen web\n mode http\n bind *:8080\n option transparent\n",
        [("unknown", "not-evaluated", 4)],
    ),
    "HA-SETDST: option http_proxy is gone": (
        "haproxy",
        "listen web\n mode http\n bind *:8080\n option http_proxy\n",
        [("unknown", "ha-http-proxy", 4)],
    ),
    "HA-SMTP: the mail server's to judge": (
        "haproxy",
        "listen mail\n mode tcp\n bind *:25\n server mail 192.0.2.1:25\n",
        [],
    ),
    "TS-FWD: remap_required 0": (
        "trafficserver",
        {
            "/etc/trafficserver/records.config": "CONFIG proxy.config.url_remap.remap_required INT 0\n",
            "/etc/trafficserver/ip_allow.yaml": "ip_allow:\n  - {apply: in, ip_addrs: 0/0, action: deny, methods: [PURGE, PUSH]}\n",
        },
        [("open", "ts-connect", 1), ("open", "ts-forward", 1)],
    ),
    "VA-DYN: a backend from the Host field": ("varnish", VARNISH, [("open", "va-dynamic", 4)]),
    "CA-FWD: forward_proxy without a password": (
        "caddy",
        ":443 {\n\tforward_proxy\n}\n",
        [("open", "ca-forward", 2)],
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_matrix(row: str) -> None:
    server, files, expected = ROWS[row]
    report = audited(load_servers()[server], files)
    assert seen(report) == expected
    if not expected:
        assert report.verdict.value == "closed"


def test_en_dfp_dynamic_forward_proxy_for_every_domain() -> None:
    report = audited(load_servers()["envoy"], ENVOY_OPEN)
    assert {("open", "en-connect", 26), ("open", "en-forward", 33)} <= set(seen(report))


@pytest.mark.parametrize(
    ("row", "led", "not_led"),
    [
        ("squid: allow all first", {":25 by CONNECT", ":25 by GET"}, set()),
        ("squid: the two denies, then allow all", {":443 by CONNECT", ":443 by GET"}, {":25 "}),
        ("squid: localnet of everything, no deny of CONNECT", {":443 by CONNECT"}, {":25 "}),
        ("squid: allow CONNECT SSL_ports", {":443 by CONNECT"}, {"GET", ":25 "}),
        ("apache: ProxyRequests On, no Require", set(), {":25 by CONNECT"}),
        ("apache: and AllowCONNECT 25 443", {":25 by CONNECT"}, set()),
        ("haproxy: set-dst from the Host field", {":25"}, set()),
    ],
)
def test_where_a_row_leads(row: str, led: set[str], not_led: set[str]) -> None:
    server, files, _ = ROWS[row]
    witnesses = "\n".join(one.witness for one in audited(load_servers()[server], files).findings)
    assert all(one in witnesses for one in led)
    assert not any(one in witnesses for one in not_led)
