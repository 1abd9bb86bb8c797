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
    ["0.0.0.0 port = 1080"],
    ["0.0.0.0 port = 1080"],
    ["eth0 port = 1080"],
    ["198.51.100.10 port = 1080", "127.0.0.1 port = 1081"],
    ["198.51.100.10 port = 1080", "198.51.100.10 port = 1081"],
    ["127.0.0.1 port = 1080"],
]
METHODS = [
    "socksmethod: none",
    "socksmethod: none",
    "socksmethod: none",
    "socksmethod: none",
    "socksmethod: username none",
    "socksmethod: username",
]
FROM = [
    "0/0",
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
TO = [
    "0/0",
    "0/0",
    "0/0",
    "0.0.0.0/0",
    "203.0.0.0/8",
    "0/0 port = 443",
    "0/0 port = 25",
    "0/0 port 1-1023",
    "0/0 port gt 1023",
    "10.0.0.0/8",
    "127.0.0.0/8",
]
FURTHER = [
    "",
    "",
    "",
    "",
    "command: connect",
    "command: bind",
    "command: udpassociate",
    "command: connect bind udpassociate",
    "protocol: tcp",
    "protocol: udp",
    "proxyprotocol: socks_v4",
    "proxyprotocol: socks_v5",
    "socksmethod: username",
    "log: connect error",
]
CLIENTS = ["", "", "", "clientmethod: none", "log: error"]


@composite
def configurations(draw) -> Files:
    """Methods, internal addresses, and rules of both kinds."""
    heard = [f"internal: {one}" for one in draw(sampled_from(INTERNAL))]
    lines = [*HEAD, *heard, draw(sampled_from(METHODS)), draw(sampled_from(["clientmethod: none", ""]))]
    for _ in range(draw(integers(1, 3))):
        action, who = draw(sampled_from(["pass", "pass", "pass", "block"])), draw(sampled_from(FROM))
        lines.append(f"client {action} {{\n  from: {who} to: 0/0\n  {draw(sampled_from(CLIENTS))}\n}}")
    kind = draw(sampled_from(["socks ", "socks ", ""]))
    for _ in range(draw(integers(1, 3))):
        action, who = draw(sampled_from(["pass", "pass", "pass", "block"])), draw(sampled_from(FROM))
        to, further = draw(sampled_from(TO)), draw(sampled_from(FURTHER))
        lines.append(f"{kind}{action} {{\n  from: {who} to: {to}\n  {further}\n}}")
    return {"/etc/danted.conf": "\n".join([*lines, ""])}


STRATEGY: SearchStrategy[Files] = configurations()

KIT = Kit(
    server="dante",
    case="dante-open",
    probes=("socks5-connect", "socks4", "socks5-udp", "socks5-bind"),
    configurations=STRATEGY,
)
