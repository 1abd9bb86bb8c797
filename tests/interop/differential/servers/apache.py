"""Apache httpd: ProxyRequests, AllowCONNECT, sections with Require, and rewriting into a proxy."""

from hypothesis.strategies import SearchStrategy, composite, integers, sampled_from
from tests.interop.differential.kit import Files, Kit, some

MODULES = (
    "mpm_event",
    "authz_core",
    "authz_host",
    "access_compat",
    "authn_core",
    "proxy",
    "proxy_http",
    "proxy_connect",
    "rewrite",
)
HEAD = [
    "ServerRoot /etc/apache2",
    "User www-data",
    "Group www-data",
    "PidFile /run/apache2.pid",
    "ErrorLog /var/log/apache2/error.log",
    "ServerName server.example",
    "Listen 8080",
    "ProxyTimeout 2",
    *(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in MODULES),
]
SECTIONS = [
    '<Proxy "*">',
    '<Proxy "*">',
    '<Proxy "http://*">',
    '<Proxy "http://ok.example/*">',
    '<ProxyMatch "^.*">',
    '<Location "/">',
    '<Location "/x">',
]
ACCESS = [
    "Require all granted",
    "Require all denied",
    "Require ip 10.0.0.0/8",
    "Require ip 64.0.0.0/6",
    "Require ip 0.0.0.0/1 128.0.0.0/1",
    "Require local",
    "<RequireAll>\nRequire all granted\nRequire not ip 10.0.0.0/8\n</RequireAll>",
    "<RequireAll>\nRequire all granted\nRequire not ip 203.0.0.0/8\n</RequireAll>",
    "Order deny,allow\nDeny from all\nAllow from 10",
    "Order allow,deny\nAllow from all",
    "Require method GET",
    "<Limit GET>\nRequire all denied\n</Limit>",
]
REWRITING = [
    "RewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
    "RewriteRule ^(.*)$ http://203.0.113.99:80$1 [P]",
    "RewriteRule ^/x - [F]",
    "RewriteCond %{HTTP_HOST} ^www\\.own\\.example$\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
    "RewriteCond %{HTTP_HOST} !^www\nRewriteRule ^(.*)$ - [F]",
    "RewriteCond %{REMOTE_ADDR} ^10\\.\nRewriteRule ^(.*)$ http://%{HTTP_HOST}$1 [P]",
    "RewriteRule ^(.*)$ http://%{HTTP:X-Forwarded-Host}$1 [P]",
]


@composite
def bodies(draw) -> list[str]:
    """What stands in a host."""
    lines = [f"ProxyRequests {draw(sampled_from(['On', 'On', 'On', 'Off']))}"]
    lines += draw(some(["AllowCONNECT 443", "AllowCONNECT 25 443", "AllowCONNECT 1-1000"], at_most=1))
    for _ in range(draw(integers(0, 2))):
        section = draw(sampled_from(SECTIONS))
        lines.append(f"{section}\n{draw(sampled_from(ACCESS))}\n</{section[1:].split()[0]}>")
    rules = draw(some(REWRITING, at_most=2))
    return [*lines, *(["RewriteEngine On", *rules] if rules else [])]


@composite
def configurations(draw) -> Files:
    """The server's own body and one to two hosts."""
    lines = [*HEAD, *(draw(bodies()) if draw(integers(0, 2)) == 0 else [])]
    for name in ["www.own.example", "other.own.example"][: draw(integers(0, 2))]:
        lines += ["<VirtualHost *:8080>", f"ServerName {name}", *draw(bodies()), "</VirtualHost>"]
    return {"/etc/apache2/apache2.conf": "\n".join([*lines, ""])}


STRATEGY: SearchStrategy[Files] = configurations()

KIT = Kit(
    server="apache",
    case="apache-proxy-open",
    probes=("http-connect", "http-forward", "http-misrouting"),
    configurations=STRATEGY,
    start="mkdir -p /var/log/apache2; apache2 -f /etc/apache2/apache2.conf -k start",
)
