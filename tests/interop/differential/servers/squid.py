"""Squid: acl of every kind that decides who and where to, and http_access in every order."""

from hypothesis.strategies import SearchStrategy, composite, integers, lists, sampled_from, tuples
from tests.interop.differential.kit import Files, Kit, some

HEAD = [
    "http_port 3128",
    "cache deny all",
    "access_log none",
    "shutdown_lifetime 0 seconds",
    "dns_timeout 2 seconds",
    "connect_timeout 3 seconds",
]
ACLS = [
    "lan src 10.0.0.0/8",
    "lan src fc00::/7 192.168.0.0/16",
    "partner src 64.0.0.0/6",
    "world src 0.0.0.0/0",
    "half src 0.0.0.0/1",
    "half src 128.0.0.0-255.255.255.255",
    "web port 80",
    "tls port 443",
    "high port 1025-65535",
    "mail port 25",
    "bad dstdomain .bad.example",
    "ours dstdomain .example",
    "tunnel method CONNECT",
    "fetch method GET",
    "named dstdom_regex -i sink",
    "plain proto HTTP",
    "nets dst 10.0.0.0/8",
    "outside dst 203.0.0.0/8",
    "always time MTWHFAS 00:00-23:59",
    "urls url_regex ^http",
    "known srcdomain .partner.example",
    "here localport 3128",
    "agent browser -i mozilla",
]
BUILT_IN = ["all", "localhost", "CONNECT", "manager", "to_localhost"]


@composite
def configurations(draw) -> Files:
    """Some acl, and rules over them."""
    acls = draw(some(ACLS, at_most=6))
    names = [*dict.fromkeys(acl.split()[0] for acl in acls), *BUILT_IN]
    conditions = lists(tuples(sampled_from(["", "", "!"]), sampled_from(names)), min_size=1, max_size=3)
    lines = [*HEAD, *(f"acl {acl}" for acl in acls)]
    for _ in range(draw(integers(0, 5))):
        action, told = draw(sampled_from(["allow", "deny"])), draw(conditions)
        lines.append(f"http_access {action} {' '.join(sign + name for sign, name in told)}")
    further = draw(sampled_from(["", "", "", "miss_access", "never_direct"]))
    if further:
        lines.append(f"{further} {draw(sampled_from(['allow', 'deny']))} {draw(sampled_from(names))}")
    return {"/etc/squid/squid.conf": "\n".join([*lines, ""])}


STRATEGY: SearchStrategy[Files] = configurations()

KIT = Kit(
    server="squid",
    case="squid-open",
    probes=("http-connect", "http-forward", "http-misrouting"),
    configurations=STRATEGY,
    explained=(
        (
            r"^http_access .*always",
            "open/closed",
            "when to come is the stranger's to choose: the audit counts no minutes that a time leaves out",
        ),
    ),
)
