"""Apache httpd: every row of the field's matrix, sections and their merging, rules that send on, and mending."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import audited, mended_texts, mending, only, seen

from relaywatch.audit.findings import AuditVerdict, GapKind
from relaywatch.audit.servers.apache import SERVER

ON = "Listen 8080\nProxyRequests On\n"
REWRITE = "Listen 80\nRewriteEngine On\n"
CLOSING = '<Proxy "*">\nRequire all denied\n</Proxy>\n'


def test_forwarding_without_a_limit_is_open_and_reaches_mail_by_get() -> None:
    report = audited(SERVER, ON)
    assert report.verdict is AuditVerdict.OPEN
    assert seen(report) == [("open", "ap-forward", 2)]
    assert report.findings[0].advisory == "RW-2005"


def test_tunnels_lead_to_443_by_default_and_to_mail_if_they_are_let() -> None:
    report = audited(SERVER, ON)
    assert not any(":25 by CONNECT" in finding.witness for finding in report.findings)
    report = audited(SERVER, ON + "AllowCONNECT 25 443\n")
    assert seen(report) == [("open", "ap-connect", 2), ("open", "ap-forward", 2)]
    assert report.findings[0].advisory == "RW-2001"
    assert ":25 by CONNECT" in report.findings[0].witness
    assert audited(SERVER, ON + "AllowCONNECT 500-600 x 1-y\n").findings[0].rule == "ap-connect"


def test_a_section_for_everything_closes_it() -> None:
    assert audited(SERVER, ON + CLOSING).verdict is AuditVerdict.CLOSED


def test_a_section_for_one_name_leaves_all_others_open() -> None:
    text = ON + '<Proxy "http://ok.example.org/*">\nRequire all granted\n</Proxy>\n'
    assert seen(audited(SERVER, text)) == [("open", "ap-forward", 2)]
    denied = ON + '<Proxy "http://ok.example.org/">\nRequire all denied\n</Proxy>\n'
    assert audited(SERVER, denied).verdict is AuditVerdict.OPEN


def test_a_rule_that_sends_on_to_the_host_field_is_open_without_forwarding() -> None:
    text = REWRITE + "ProxyRequests Off\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]\n"
    finding = only(audited(SERVER, text))
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.OPEN, "ap-rewrite", 4)


def test_a_fixed_backend_is_no_proxy() -> None:
    text = 'Listen 80\nProxyRequests Off\nProxyPass "/" "http://192.0.2.31:8080/"\n'
    assert audited(SERVER, text).verdict is AuditVerdict.CLOSED


def test_the_first_virtual_host_alone_gets_requests_for_outside_hosts() -> None:
    first = "<VirtualHost *:80>\nServerName www.example.org\n</VirtualHost>\n"
    proxy = "<VirtualHost *:80>\nServerName proxy.example.org\nProxyRequests On\n</VirtualHost>\n"
    assert (
        audited(SERVER, "Listen 80\n" + first + proxy).verdict is AuditVerdict.CLOSED
    )  # seen with httpd 2.4.71
    assert audited(SERVER, "Listen 80\n" + proxy + first).verdict is AuditVerdict.OPEN
    aliased = proxy.replace("ProxyRequests", "ServerAlias *\nProxyRequests")
    assert audited(SERVER, "Listen 80\n" + first + aliased).verdict is AuditVerdict.OPEN
    taking = first.replace("</", "ServerAlias *\n</")
    assert audited(SERVER, "Listen 80\n" + proxy + taking).verdict is AuditVerdict.CLOSED
    named = (
        first
        + "<VirtualHost *:80>\nRewriteEngine On\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]\n</VirtualHost>\n"
    )
    assert audited(SERVER, "Listen 80\n" + named).verdict is AuditVerdict.CLOSED


def test_virtual_hosts_have_what_the_main_server_has() -> None:
    host = "<VirtualHost *:80>\n{}\n</VirtualHost>\n"
    assert seen(audited(SERVER, "Listen 80\nProxyRequests On\n" + host.format("ServerName a"))) == [
        ("open", "ap-forward", 2)
    ]
    assert (
        audited(SERVER, "Listen 80\nProxyRequests On\n" + host.format("ProxyRequests Off")).verdict
        is AuditVerdict.CLOSED
    )
    text = "Listen 80\n" + CLOSING + host.format("ProxyRequests On")
    assert audited(SERVER, text).verdict is AuditVerdict.CLOSED
    granted = host.format('ProxyRequests On\n<Proxy "*">\nRequire all granted\n</Proxy>')
    report = audited(SERVER, "Listen 80\n" + CLOSING + granted)
    assert {rule for _, rule, _ in seen(report)} == {"ap-require-wide"}


@pytest.mark.parametrize(
    "inside",
    [
        "Require ip 192.0.2.0/24 10.1 10.0.0.0/255.0.0.0 2001:db8::1",
        "Require local",
        "Require valid-user",
        "Require host",
        "Require all denied",
        "<RequireAll>\nRequire all granted\nRequire ip 10.0.0.0/8\n</RequireAll>",
        "<RequireAll>\nRequire all granted\n<RequireNone>\nRequire all granted\n</RequireNone>\n</RequireAll>",
        "<RequireAll>\nRequire not ip 0.0.0.0/1 128.0.0.0/1 ::/1 8000::/1\nRequire all granted\n</RequireAll>",
        "<RequireAny>\nRequire ip 10\nRequire user a\n</RequireAny>",
        "<LimitExcept>\nRequire all denied\n</LimitExcept>",
        "Require method OPTIONS",
        "Order deny,allow\nDeny from all\nAllow from 10.0.0.0/8 172.16",
        "Order allow,deny",
        "Require all granted\nOrder deny,allow\nDeny from all",
    ],
)
def test_what_keeps_strangers_out(inside: str) -> None:
    report = audited(SERVER, ON + f'<Proxy "*">\n{inside}\n</Proxy>\n')
    assert report.verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    "inside",
    [
        "Require all granted",
        "Require all granted\nRequire ip 10",
        "Require ip 0.0.0.0/1 128.0.0.0/1",
        "<RequireAll>\nRequire all granted\nRequire ssl\n</RequireAll>",
        "<RequireAll>\nRequire all granted\nRequire not ip 10.0.0.0/8\n</RequireAll>",
        "<Limit POST>\nRequire all denied\n</Limit>",
        "Require method GET CONNECT",
        "Order deny,allow\nAllow from all",
        "Order allow,deny\nAllow from all",
        "Order deny,allow\nDeny from 10.0.0.0/8",
        "Order deny,allow\nDeny from all\nRequire all granted\nSatisfy any",
        "AuthName x",
    ],
)
def test_what_lets_strangers_in(inside: str) -> None:
    assert audited(SERVER, ON + f'<Proxy "*">\n{inside}\n</Proxy>\n').verdict is AuditVerdict.OPEN


@pytest.mark.parametrize(
    ("inside", "rule"),
    [
        ("Require host example.org", "ap-client-name"),
        ("Order allow,deny\nAllow from .example.org", "ap-client-name"),
        ("Require ip 198.0.0.0/8", "ap-require-wide"),
    ],
)
def test_what_strangers_may_claim(inside: str, rule: str) -> None:
    report = audited(SERVER, ON + f'<Proxy "*">\n{inside}\n</Proxy>\n')
    assert report.verdict is AuditVerdict.OPEN_IF
    assert report.findings[0].rule == rule


@pytest.mark.parametrize(
    "inside",
    [
        "Require env trusted",
        "Require expr %{TIME_HOUR} < 5",
        "Require ip what",
        "Order allow,deny\nAllow from env=x",
    ],
)
def test_what_is_not_evaluated_is_unknown(inside: str) -> None:
    assert audited(SERVER, ON + f'<Proxy "*">\n{inside}\n</Proxy>\n').verdict is AuditVerdict.UNKNOWN


@pytest.mark.parametrize(
    "line", ["Require ip 0.0.0.0/0", "Allow from ::/0", "<RequireAny>\nRequire ip ::/0\n</RequireAny>"]
)
def test_a_mask_of_no_bits_keeps_it_down(line: str) -> None:
    finding = only(audited(SERVER, ON + f'<Proxy "*">\n{line}\n</Proxy>\n'))  # seen with httpd 2.4.71
    assert (finding.verdict, finding.rule) == (AuditVerdict.DOWN, "ap-mask")


def test_sections_are_merged_in_their_order() -> None:
    granting = '<Proxy "*">\nRequire all granted\n</Proxy>\n'
    assert audited(SERVER, ON + CLOSING + granting).verdict is AuditVerdict.OPEN
    assert audited(SERVER, ON + granting + CLOSING).verdict is AuditVerdict.CLOSED
    both = granting.replace("Require", "AuthMerging And\nRequire")
    assert audited(SERVER, ON + CLOSING + both).verdict is AuditVerdict.CLOSED
    either = CLOSING.replace("Require", "AuthMerging Or\nRequire")
    assert audited(SERVER, ON + granting + either).verdict is AuditVerdict.OPEN


def test_sections_by_pattern() -> None:
    assert (
        audited(SERVER, ON + "<ProxyMatch ^.*>\nRequire all denied\n</ProxyMatch>\n").verdict
        is AuditVerdict.CLOSED
    )
    assert (
        audited(SERVER, ON + "<Proxy ~ ^.*>\nRequire all denied\n</Proxy>\n").verdict is AuditVerdict.CLOSED
    )
    report = audited(SERVER, ON + "<ProxyMatch (>\nRequire all denied\n</ProxyMatch>\n")
    assert report.verdict is AuditVerdict.UNKNOWN
    assert (
        audited(SERVER, ON + "<Proxy http://*>\nRequire all denied\n</Proxy>\n")
        .findings[0]
        .witness.endswith(":443 by CONNECT")
    )


def test_a_location_does_not_hold_for_forward_requests_and_does_for_others() -> None:
    location = '<Location "/">\nRequire all denied\n</Location>\n'  # both seen with httpd 2.4.71
    assert audited(SERVER, ON + location).verdict is AuditVerdict.OPEN
    text = REWRITE + "RewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]\n"
    assert audited(SERVER, text + location).verdict is AuditVerdict.CLOSED


def test_an_if_section_is_not_evaluated() -> None:
    text = ON + "<If \"%{HTTP_USER_AGENT} == 'x'\">\nRequire all denied\n</If>\n"
    assert audited(SERVER, text).verdict is AuditVerdict.UNKNOWN
    assert audited(SERVER, ON + '<If "true">\nHeader set a b\n</If>\n').verdict is AuditVerdict.OPEN


def test_proxyblock_of_everything() -> None:
    assert audited(SERVER, ON + "ProxyBlock *\n").verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    "rules",
    [
        "RewriteRule ^/(.*)$ http://$1 [P]",
        "RewriteRule ^/proxy/([^/]+)/(.*)$ http://$1/$2 [P,L]",
        "RewriteRule ^/(.*)$ http://192.0.2.31$1 [P]",
        "RewriteRule (.*) %{QUERY_STRING} [proxy]",
        'RewriteCond %{QUERY_STRING} url=(.*)\nRewriteRule "^/go" "http://%1" [P]',
        "RewriteRule ^/x http://%{HTTP:X-Backend}/ [P]",
        "RewriteMap lower int:tolower\nRewriteRule ^(.*)$ http://${lower:%{HTTP_HOST}}$1 [P]",
        "RewriteMap m txt:/etc/map\nRewriteRule ^(.*)$ http://${m:%{HTTP_HOST}|%{HTTP_HOST}}$1 [P]",
        "RewriteCond %{HTTPS} off\nRewriteCond %{HTTP_HOST} !^www\\.example\\.org$ [NC]\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
        "RewriteCond %{HTTP_HOST} a [OR]\nRewriteCond %{HTTP_HOST} elsewhere\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
        "RewriteCond %{REQUEST_FILENAME} !-f\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
        "RewriteCond %{HTTP_HOST} !=www.example.org\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
        "RewriteCond %{HTTP_HOST} !^own\nRewriteRule ^(.*)$ - [F]\nRewriteRule ^/(.*)$ http://$1 [P]",
        "RewriteRule ^/private - [F]\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
        "RewriteRule !^/static http://%{HTTP_HOST}/x [P]",
        "RewriteRule ^/a - [NE]\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
    ],
)
def test_rules_out_of_which_an_outside_host_comes(rules: str) -> None:
    report = audited(SERVER, REWRITE + rules)
    assert report.verdict is AuditVerdict.OPEN
    assert report.findings[0].rule == "ap-rewrite"


@pytest.mark.parametrize(
    "rules",
    [
        "RewriteRule ^(.*)$ http://192.0.2.31:8080$1 [P]",
        "RewriteRule ^/(.*)$ http://192.0.2.31/$1 [P]",
        "RewriteRule ^/(a|b)$ http://$1.own.example.org/ [P]",
        "RewriteRule ^/(\\w+)$ http://$1.own.example.org/ [P]",
        "RewriteCond %{HTTP_HOST} ^(www\\.)?example\\.org$ [NC]\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
        "RewriteCond %{HTTP_HOST} =www.example.org\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
        "RewriteMap m txt:/etc/map\nRewriteRule ^(.*)$ http://${m:%{HTTP_HOST}|192.0.2.1}$1 [P]",
        "RewriteRule ^(.*)$ - [F]\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
        "RewriteRule ^(.*)$ https://www.example.org$1 [R=301]\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
        "RewriteRule ^(.*)$ https://%{HTTP_HOST}$1 [R,L]",
        "RewriteCond %{REMOTE_ADDR} ^10\\.\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
        "RewriteEngine Off\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
        "RewriteCond expr \"! -R '10.0.0.0/8'\"\nRewriteRule ^ - [F]\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
        "RewriteRule ^/x http://%{SERVER_ADDR}%9/ [P]",
        "RewriteRule x",
    ],
)
def test_rules_that_lead_to_ones_own_hosts(rules: str) -> None:
    assert audited(SERVER, REWRITE + rules).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    "rules",
    [
        "RewriteRule ( http://%{HTTP_HOST}/ [P]",
        "RewriteCond %{REMOTE_ADDR} ^203\\.\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
        "RewriteCond %{HTTP:X-Key} ^[a-z]{3}\\d{7}$\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
        "RewriteRule ^/(?=x)[a-c]{3}(\\d+)$ http://$1/ [P]",
    ],
)
def test_rules_for_which_no_request_can_be_made_are_unknown(rules: str) -> None:
    assert audited(SERVER, REWRITE + rules).verdict is AuditVerdict.UNKNOWN


def test_proxypassmatch_with_the_host_in_a_capture() -> None:
    finding = only(audited(SERVER, 'Listen 80\nProxyPassMatch "^/(.*)$" "http://$1"\n'))
    assert (finding.rule, finding.advisory) == ("ap-passmatch", "RW-2006")
    assert (
        audited(SERVER, 'Listen 80\nProxyPassMatch "^/x$" "!"\nProxyPass / !\n').verdict
        is AuditVerdict.CLOSED
    )
    assert (
        audited(SERVER, "Listen 80\nProxyPassMatch ^/(.*)$ http://192.0.2.1/$1\n").verdict
        is AuditVerdict.CLOSED
    )
    assert (
        audited(SERVER, "Listen 80\nProxyPass /x/(.*) http://$1/ interpolate=On\n").verdict
        is AuditVerdict.OPEN
    )


def test_rules_in_folders_locations_and_htaccess() -> None:
    rule = "RewriteEngine On\nRewriteRule ^(.*)$ http://$1 [P]\n"
    text = f"Listen 80\n<Directory /var/www>\n{rule}</Directory>\n"
    assert audited(SERVER, text).findings[0].line == 4
    text = "Listen 80\n<Location />\nRewriteEngine On\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]\n</Location>\n"
    assert audited(SERVER, text).verdict is AuditVerdict.OPEN
    files = {
        "/etc/apache2/apache2.conf": "Listen 80\n<Directory /var/www>\nAllowOverride All\n</Directory>\n",
        "/var/www/.htaccess": rule,
    }
    finding = only(audited(SERVER, files))
    assert (finding.file, finding.line) == ("/var/www/.htaccess", 2)
    without = {"/etc/apache2/apache2.conf": files["/etc/apache2/apache2.conf"]}
    report = audited(SERVER, without)
    assert report.verdict is AuditVerdict.CLOSED
    assert ".htaccess" in report.gaps[0].subject
    none = {**files, "/etc/apache2/apache2.conf": "<Directory /var/www>\nAllowOverride None\n</Directory>\n"}
    assert audited(SERVER, none).verdict is AuditVerdict.CLOSED
    unread = {**files, "/var/www/.htaccess": "\x00"}
    assert audited(SERVER, unread).verdict is AuditVerdict.UNKNOWN


def test_what_the_main_server_passes_on_its_hosts_do_too() -> None:
    text = (
        'Listen 80\nProxyPassMatch "^/(.*)$" "http://$1"\n<VirtualHost *:80>\nServerName a\n</VirtualHost>\n'
    )
    assert [one.verdict for one in audited(SERVER, text).services] == [AuditVerdict.CLOSED, AuditVerdict.OPEN]


def test_rules_are_inherited_if_a_host_says_so() -> None:
    text = REWRITE + "RewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]\n<VirtualHost *:80>\n{}\n</VirtualHost>\n"
    assert audited(SERVER, text.replace("{}", "ServerName a")).services[1].verdict is AuditVerdict.CLOSED
    assert (
        audited(SERVER, text.replace("{}", "RewriteOptions Inherit")).services[1].verdict is AuditVerdict.OPEN
    )


def test_includes_modules_and_defines_are_followed() -> None:
    files = {
        "/etc/apache2/apache2.conf": "ServerRoot /etc/apache2\nIncludeOptional mods-enabled/*.load\nInclude sites/on.conf\nIncludeOptional sites/none.conf\nDefine port 8080\nListen ${port}\n",
        "/etc/apache2/mods-enabled/proxy.load": "LoadModule proxy_module x.so\nLoadModule proxy_http_module x.so\n",
        "/etc/apache2/sites/on.conf": "<IfModule mod_proxy.c>\nProxyRequests \\\n  On\n</IfModule>\n<IfModule mod_security.c>\n<Proxy *>\nRequire all denied\n</Proxy>\n</IfModule>\n<IfDefine !X>\n<IfFile /etc/nothing>\nProxyRequests Off\n</IfFile>\n</IfDefine>\n",
    }
    finding = only(audited(SERVER, files))
    assert (finding.file, finding.line) == ("/etc/apache2/sites/on.conf", 2)
    assert "by GET" in finding.witness  # mod_proxy_connect isn't loaded
    without = {**files, "/etc/apache2/mods-enabled/proxy.load": "LoadModule proxy_module x.so\n"}
    assert audited(SERVER, without).verdict is AuditVerdict.CLOSED


def test_a_directive_of_a_module_that_is_not_loaded_keeps_it_down() -> None:
    report = audited(SERVER, "LoadModule authz_core_module x.so\nListen 80\nProxyRequests On\n")
    assert seen(report) == [("down", "ap-syntax", 3)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Include missing.conf\n", GapKind.MISSING),
        ("Include apache2.conf\n", GapKind.LOOP),
        ("<IfVersion > 2.4>\nProxyRequests On\n<x>\n</x>\n</IfVersion>\n", GapKind.NOT_EVALUATED),
    ],
)
def test_what_was_not_read_may_be_anything(text: str, kind: GapKind) -> None:
    report = audited(SERVER, "Listen 80\n" + text)
    assert report.verdict is AuditVerdict.UNKNOWN
    assert report.gaps[0].kind is kind
    forwarding = audited(SERVER, "ProxyRequests On\nListen 80\n" + text)
    assert forwarding.verdict is AuditVerdict.UNKNOWN  # it may hold the section that closes it


def test_a_root_elsewhere_is_where_includes_are() -> None:
    files = {
        "/etc/httpd/conf/httpd.conf": 'ServerRoot "/etc/httpd"\nInclude conf.d/*.conf\n',
        "/etc/httpd/conf.d/proxy.conf": "ProxyRequests On\n",
    }
    assert audited(SERVER, files).findings[0].file == "/etc/httpd/conf.d/proxy.conf"


def test_who_hears_on_loopback_only() -> None:
    assert (
        audited(SERVER, "Listen 127.0.0.1:8080\nListen [::1]:8080\nProxyRequests On\n").verdict
        is AuditVerdict.CLOSED
    )
    text = "Listen 80\n<VirtualHost 127.0.0.1:80>\nProxyRequests On\n</VirtualHost>\n"
    assert audited(SERVER, text).verdict is AuditVerdict.CLOSED
    text = "Listen 80\nListen 127.0.0.1:8080\n<VirtualHost *:8080>\nProxyRequests On\n</VirtualHost>\n"
    assert audited(SERVER, text).verdict is AuditVerdict.CLOSED
    text = "Listen 80\nProxyRequests On\n<VirtualHost *:*>\nProxyRequests Off\n</VirtualHost>\n"
    assert audited(SERVER, text).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    ("lines", "claim"),
    [
        ("RemoteIPHeader X-Forwarded-For\n", "X-Forwarded-For: 192.0.2.0"),
        ("RemoteIPProxyProtocol On\n", "PROXY from 10.0.0.0"),
    ],
)
def test_addresses_that_the_client_writes(lines: str, claim: str) -> None:
    inner = '<Proxy "*">\nRequire ip 10.0.0.0/8\nRequire ip 192.0.2.0/24\n</Proxy>\n'
    report = audited(SERVER, ON + lines + inner)
    assert report.verdict is AuditVerdict.OPEN_IF
    assert report.findings[0].rule == "ap-forwarded-for"
    assert claim in report.findings[0].witness
    limited = lines + "RemoteIPTrustedProxy 192.0.2.1\nRemoteIPProxyProtocol Off\n"
    assert audited(SERVER, ON + limited + inner).verdict is AuditVerdict.CLOSED
    loaded = "LoadModule proxy_module x\nLoadModule proxy_http_module x\n"
    assert audited(SERVER, loaded + ON + lines + inner).verdict is AuditVerdict.CLOSED


BROKEN = [
    ON,
    ON + "AllowCONNECT 25 443\n",
    ON + '<Proxy "*">\n    Require all granted\n</Proxy>\n',
    ON + '<Proxy "*">\nOrder deny,allow\nAllow from all\nDeny from all\n</Proxy>\n',
    "Listen 80\n<VirtualHost *:80>\n    ProxyRequests On\n</VirtualHost>\n",
    REWRITE + "RewriteCond %{HTTPS} off\n  RewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]\n",
    'Listen 80\nProxyPassMatch "^/(.*)$" "http://$1"\n',
]


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("allowed", [(), ("10.1.0.0/16", "2001:db8::/32")])
def test_mending_closes_it_and_keeps_the_owners_networks(text: str, allowed: tuple[str, ...]) -> None:
    outcome = mending(SERVER, text, allowed=allowed)
    assert outcome.report.verdict is AuditVerdict.CLOSED
    if allowed and "PassMatch" not in text:
        assert "10.1.0.0/16" in outcome.diff


def test_mending_writes_little() -> None:
    assert mended_texts(SERVER, ON) == {"/etc/apache2/apache2.conf": "Listen 8080\nProxyRequests Off\n"}
    texts = mended_texts(SERVER, ON + '<Proxy "*">\n    Require all granted\n</Proxy>\n')
    assert "    Require local\n" in texts["/etc/apache2/apache2.conf"]


def test_what_no_edit_is_known_for_is_left_alone() -> None:
    text = ON + "RemoteIPHeader X-Forwarded-For\n" + '<Proxy "*">\nRequire ip 192.0.2.0/24\n</Proxy>\n'
    assert mending(SERVER, text).after == {}
    text = "Listen 80\nRewriteEngine On\nRewriteRule ^(.*)$ \\\n http://%{HTTP_HOST}$1 [P]\n"
    assert mending(SERVER, text).after == {}
    continued = "Listen 80\nProxyRequests \\\n On\n"
    assert mended_texts(SERVER, continued) == {"/etc/apache2/apache2.conf": "Listen 80\nProxyRequests Off\n"}


WORDS = st.sampled_from(
    [
        "<Proxy",
        "*>",
        "</Proxy>",
        "all",
        "granted",
        "ip",
        "10",
        "RewriteRule",
        "(",
        "[P]",
        "http://$1",
        "Include",
        "RewriteCond",
        "%{X}",
        "<IfModule",
        "x>",
        "</IfModule>",
        "Order",
        "\\",
        "Allow",
        '"',
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(WORDS, max_size=6).map(" ".join), max_size=12).map("\n".join) | st.text(max_size=200)
)
def test_nothing_makes_it_fail(text: str) -> None:
    audited(SERVER, REWRITE + "ProxyRequests On\n" + text)
