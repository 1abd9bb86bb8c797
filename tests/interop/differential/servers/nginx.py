"""nginx: proxy_pass to what the request names, in servers and locations of every kind, with allow and deny."""

from hypothesis.strategies import SearchStrategy, composite, integers, lists, sampled_from
from tests.interop.differential.kit import Files, Kit, some

HEAD = """\
error_log /var/log/nginx/error.log;
pid /run/nginx.pid;
events { worker_connections 64; }
http {
  access_log off;
  resolver 203.0.113.53 ipv6=off;
  resolver_timeout 2s;
  proxy_connect_timeout 2s;
  proxy_read_timeout 2s;
  server_names_hash_bucket_size 128;
"""
PLACES = ["/", "/", "/", "/", "/", "/", "/x/", "= /d", "~* ^/(.+)$"]
STEPS = [
    "allow 10.0.0.0/8;",
    "deny all;",
    "allow 0.0.0.0/0;",
    "allow 64.0.0.0/6;",
    "deny 203.0.0.0/8;",
    "deny 203.0.113.10;",
    "set $up $host;",
    "set $up $http_host;",
    "set $up 192.0.2.31;",
    "if ($host != www.own.example) { return 403; }",
    "if ($http_host ~ ^www) { return 403; }",
    "if ($request_method = POST) { return 405; }",
    "return 403;",
    "auth_basic on; auth_basic_user_file /etc/nginx/none;",
]
TARGETS = [
    "$host",
    "$http_host",
    "$http_host",
    "$up",
    "$m",
    "192.0.2.31",
    "192.0.2.32:8080",
    "$up",
    "192.0.2.33",
    "$server_name",
    "$http_x_forwarded_host",
    "$host:80",
]
TAILS = ["$request_uri", "$request_uri", "", "$uri"]
MAPS = [
    "map $host $m { default 192.0.2.31; www.own.example 192.0.2.32; }",
    "map $http_host $m { ~^(.*)$ $1; }",
    "map $host $m { hostnames; *.example $host; default 192.0.2.31; }",
    "map $http_x_forwarded_host $m { default $http_x_forwarded_host; }",
]
NAMES = ["_", "www.own.example", "*.own.example", "~^(?<sub>.+)$", "server.example"]
FIRST = [
    "",
    "",
    "return 444;",
    "return 444;",
    "deny all;",
    "deny all;",
    "allow 10.0.0.0/8; deny all;",
    "allow 10.0.0.0/8; deny all;",
    "allow 64.0.0.0/6; deny all;",
]


@composite
def configurations(draw) -> Files:
    """One to three servers."""
    names = draw(lists(sampled_from(NAMES), min_size=1, max_size=2, unique=True))
    lines = [HEAD, f"  {draw(sampled_from(MAPS))}"]
    default = draw(integers(0, len(names)))
    for number, name in enumerate(names):
        listen = "listen 8080 default_server;" if number == default else "listen 8080;"
        lines.append(
            f"  server {{ {listen}\n    server_name {name}; set $up 192.0.2.31; {draw(sampled_from(FIRST))}"
        )
        for place in draw(some(PLACES, at_least=1, at_most=2)):
            steps = " ".join(draw(some(STEPS, at_most=2)))
            target = draw(sampled_from(TARGETS)) + draw(sampled_from(TAILS))
            lines.append(f"    location {place} {{ {steps} proxy_pass http://{target}; }}")
        lines.append("  }")
    return {"/etc/nginx/nginx.conf": "\n".join([*lines, "}", ""])}


STRATEGY: SearchStrategy[Files] = configurations()

KIT = Kit(
    server="nginx",
    case="nginx-forward-open",
    probes=("http-connect", "http-forward", "http-misrouting"),
    configurations=STRATEGY,
    start="mkdir -p /var/log/nginx /var/lib/nginx; nginx -c /etc/nginx/nginx.conf",
)
