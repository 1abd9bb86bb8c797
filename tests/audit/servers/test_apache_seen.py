"""httpd 2.4.71 was run with each of these, a stranger asked it, and this is what it did."""

from __future__ import annotations

import pytest
from tests.audit.auditing import audited, only

from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.servers.apache import SERVER

ON = "Listen 8080\nProxyRequests On\n"
PLAIN = "Listen 80\n"
REWRITE = "Listen 80\nRewriteEngine On\n"
FIELD = "RemoteIPHeader X-Forwarded-For\n"
WIDE = "0.0.0.0/1 128.0.0.0/1\n"


def proxy(*inside: str) -> str:
    return "\n".join(['<Proxy "*">', *inside, "</Proxy>", ""])


@pytest.mark.parametrize(
    ("inside", "line"),
    [
        (("Require not ip 10.0.0.0/8",), 4),
        (("<RequireNone>", "Require ip 10.0.0.0/8", "</RequireNone>"), 4),
        (("<RequireAll>", "Require not ip 10.0.0.0/8", "</RequireAll>"), 4),
        (("<RequireAny>", "Require ip 10", "Require not ip 10.1", "</RequireAny>"), 6),
    ],
)
def test_rules_that_only_refuse_keep_it_down(inside: tuple[str, ...], line: int) -> None:
    finding = only(audited(SERVER, ON + proxy(*inside)))
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.DOWN, "ap-negative", line)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (ON + proxy("Order mutual-failure", "Deny from 10.0.0.0/8"), AuditVerdict.CLOSED),
        (ON + proxy("Order mutual-failure", "Allow from all"), AuditVerdict.OPEN),
        (ON + proxy("<Limit GET>", "Require all denied", "</Limit>"), AuditVerdict.OPEN),
        (ON + proxy("<Limit CONNECT>", "Require all denied", "</Limit>"), AuditVerdict.OPEN),
        (
            ON + '<ProxyMatch "^(https?://|[^/]+:\\d+$)">\nRequire all denied\n</ProxyMatch>\n',
            AuditVerdict.CLOSED,
        ),
        (ON + '<ProxyMatch "elsewhere">\nRequire all denied\n</ProxyMatch>\n', AuditVerdict.OPEN),
        (
            REWRITE + "RewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]\n" + proxy("Require all denied"),
            AuditVerdict.CLOSED,
        ),
        (
            REWRITE
            + "RewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]\n<Directory />\nRequire all denied\n</Directory>\n",
            AuditVerdict.OPEN,
        ),
        ("Define UP %{HTTP_HOST}\n" + REWRITE + "RewriteRule ^(.*)$ http://${UP}$1 [P]\n", AuditVerdict.OPEN),
    ],
)
def test_sections_and_methods(text: str, verdict: AuditVerdict) -> None:
    assert audited(SERVER, text).verdict is verdict


@pytest.mark.parametrize(
    "text",
    [
        ON + proxy("Require all denied") + '<If "true">\nRequire all granted\n</If>\n',
        ON + proxy("Require all denied", '<If "true">', "Require all granted", "</If>"),
        ON + proxy("Require all granted", '<If "true">', "Require all denied", "</If>"),
        ON + proxy("Require all denied") + '<If "false">\n</If>\n<Else>\nRequire all granted\n</Else>\n',
        ON + proxy("Require all denied") + '<If "true">\nOrder deny,allow\nSatisfy any\n</If>\n',
        REWRITE + 'RewriteMap m "prg:/bin/cat"\nRewriteRule ^(.*)$ http://${m:%{HTTP_HOST}}$1 [P]\n',
        REWRITE + "RewriteRule ^ - [E=H:%{HTTP_HOST}]\nProxyPass / http://${H}/ interpolate\n",
        PLAIN + 'SetEnvIf Host "(.*)" H=$1\nProxyPassMatch ^/(.*)$ http://${H}/$1 interpolate=On\n',
        PLAIN + '<Location />\nSetHandler "proxy:http://%{base64:x}/"\n</Location>\n',
        PLAIN + "<Macro Forward>\nProxyRequests On\n</Macro>\nUse Forward\n",
        ON + proxy("Require ip 203.0.113.0/24") + FIELD + "RemoteIPInternalProxyList conf/missing\n",
    ],
)
def test_what_an_expression_a_program_or_a_macro_decides_is_unknown(text: str) -> None:
    assert audited(SERVER, text).verdict is AuditVerdict.UNKNOWN


@pytest.mark.parametrize("section", ['LocationMatch "{}"', 'Location ~ "{}"'])
@pytest.mark.parametrize("name", ["ProxyPass", "ProxyPassMatch"])
def test_a_location_by_pattern_is_the_pattern_of_what_passes_on_in_it(section: str, name: str) -> None:
    head = section.format("^/to/([^/]*)/(.*)$")
    text = f'{PLAIN}<{head}>\n{name} "{{}}"\n</{section.split(maxsplit=1)[0]}>\n'
    finding = only(audited(SERVER, text.format("http://$1/$2")))
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.OPEN, "ap-passmatch", 3)
    assert audited(SERVER, text.format("http://192.0.2.31/$2")).verdict is AuditVerdict.CLOSED


def test_a_handler_that_passes_on_to_the_host_field() -> None:
    finding = only(
        audited(SERVER, PLAIN + '<Location />\nSetHandler "proxy:http://%{HTTP_HOST}/"\n</Location>\n')
    )
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.OPEN, "ap-handler", 3)
    fixed = '<FilesMatch "\\.php$">\nSetHandler "proxy:unix:/run/php.sock|fcgi://localhost"\n</FilesMatch>\n'
    assert audited(SERVER, PLAIN + fixed).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    ("required", "lines", "verdict"),
    [
        ("10.1.0.0/16", "RemoteIPInternalProxy " + WIDE, AuditVerdict.OPEN_IF),
        ("10.1.0.0/16", "RemoteIPTrustedProxy " + WIDE, AuditVerdict.CLOSED),
        ("203.0.113.0/24", "RemoteIPTrustedProxy " + WIDE, AuditVerdict.OPEN_IF),
        ("10.1.0.0/16", "", AuditVerdict.CLOSED),
        ("203.0.113.0/24", "", AuditVerdict.OPEN_IF),
        ("10.1.0.0/16", "RemoteIPInternalProxy 10.9.9.9\n", AuditVerdict.CLOSED),
    ],
)
def test_whose_word_on_the_address_is_taken(required: str, lines: str, verdict: AuditVerdict) -> None:
    assert audited(SERVER, ON + proxy(f"Require ip {required}") + FIELD + lines).verdict is verdict


def test_trusted_proxies_in_a_file() -> None:
    main = ON + proxy("Require ip 10.1.0.0/16") + FIELD + "RemoteIPInternalProxyList list\n"
    files = {"/etc/apache2/apache2.conf": main, "/etc/apache2/list": "# all\n0.0.0.0/1\n"}
    assert audited(SERVER, files).verdict is AuditVerdict.OPEN_IF
    assert audited(SERVER, {**files, "/etc/apache2/list": "10.9.9.9\n"}).verdict is AuditVerdict.CLOSED
