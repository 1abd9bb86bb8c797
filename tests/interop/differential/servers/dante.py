"""Dante: methods, client and socks rules in every order, ports and commands."""

from hypothesis.strategies import SearchStrategy, composite, integers, sampled_from
from tests.interop.differential.kit import Files, Kit

HEAD = [
    "logoutput: /var/log/danted.log",
    "external: eth0",
    "external.rotation: route",
    "user.privileged: root",
    "user.unprivileged: nobody",
]
INTERNAL = [
    "0.0.0.0 port = 1080",
    "0.0.0.0 port = 1080",
    "198.51.100.10 port = 1080",
    "127.0.0.1 port = 1080",
]
METHODS = [
    "socksmethod: none",
    "socksmethod: none",
    "socksmethod: none",
    "socksmethod: username none",
    "socksmethod: username",
    "",
]
FROM = [
    "0/0",
    "0/0",
    "0/0",
    "0.0.0.0/0",
    "10.0.0.0/8",
    "64.0.0.0/6",
    "203.0.0.0/8",
    "0.0.0.0/1",
    "127.0.0.0/8",
]
TO = ["0/0", "0/0", "203.0.0.0/8", "0/0 port = 443", "0/0 port = 25", "0/0 port 1-1023", "10.0.0.0/8"]
FURTHER = [
    "",
    "",
    "",
    "command: connect",
    "command: bind",
    "protocol: tcp",
    "protocol: udp",
    "socksmethod: username",
]


@composite
def configurations(draw) -> Files:
    """Methods, and rules of both kinds."""
    lines = [*HEAD, f"internal: {draw(sampled_from(INTERNAL))}", draw(sampled_from(METHODS))]
    lines.append(draw(sampled_from(["clientmethod: none", ""])))
    for _ in range(draw(integers(0, 3))):
        action, who = draw(sampled_from(["pass", "pass", "block"])), draw(sampled_from(FROM))
        lines.append(f"client {action} {{ from: {who} to: 0/0 }}")
    for _ in range(draw(integers(0, 3))):
        action, who = draw(sampled_from(["pass", "pass", "block"])), draw(sampled_from(FROM))
        to, further = draw(sampled_from(TO)), draw(sampled_from(FURTHER))
        lines.append(f"socks {action} {{\n  from: {who} to: {to}\n  {further}\n}}")
    return {"/etc/danted.conf": "\n".join([*lines, ""])}


STRATEGY: SearchStrategy[Files] = configurations()

KIT = Kit(
    server="dante",
    case="dante-open",
    probes=("socks5-connect", "socks4", "socks5-udp", "socks5-bind"),
    configurations=STRATEGY,
    explained=(
        (
            r"^socksmethod: none$(?s:.)*^  socksmethod: username$",
            "closed/down",
            "a rule's method isn't in the server's own list: Dante doesn't start; the audit sees that nobody passes",
        ),
    ),
)
