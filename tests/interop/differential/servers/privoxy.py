"""Privoxy: where it listens, permit-access and deny-access, limit-connect, and what else decides."""

from hypothesis.strategies import builds, sampled_from
from tests.interop.differential.kit import Kit, some

HEAD = ["confdir /etc/privoxy", "logdir /var/log/privoxy", "actionsfile limits.action"]
LISTEN = [
    "listen-address 0.0.0.0:8118",
    "listen-address :8118",
    "listen-address [::]:8118",
    "listen-address 198.51.100.10:8118",
    "listen-address 127.0.0.1:8118",
    "",
]
LINES = [
    "permit-access 10.0.0.0/8",
    "permit-access 0.0.0.0/0",
    "permit-access 64.0.0.0/6",
    "permit-access 203.0.0.0/8",
    "permit-access [::]/0",
    "permit-access localhost",
    "permit-access 0.0.0.0/0 10.0.0.1",
    "deny-access 0.0.0.0/0",
    "deny-access 203.0.113.10",
    "deny-access 203.0.0.0/8",
    "deny-access 10.0.0.0/8",
    "toggle 0",
    "toggle 1",
    "accept-intercepted-requests 1",
    "enforce-blocks 1",
    "enable-remote-toggle 1",
    "forwarded-connect-retries 0",
    "forward .example .",
]
ACTIONS = [
    "",
    "{+limit-connect{443}}\n/\n",
    "{+limit-connect{-}}\n/\n",
    "{+limit-connect{25}}\n/\n",
    "{+limit-connect{1-400}}\n/\n",
    "{+block{no}}\n/\n",
    "{+block{no}}\n.example\n",
    "{+block{no}}\n/\n{-block}\n203.0.\n",
]

KIT = Kit(
    server="privoxy",
    case="privoxy-open",
    probes=("http-connect", "http-forward", "http-misrouting"),
    configurations=builds(
        lambda listen, lines, actions: {
            "/etc/privoxy/config": "\n".join([*HEAD, listen, *lines, ""]),
            "/etc/privoxy/limits.action": actions,
        },
        sampled_from(LISTEN),
        some(LINES, at_most=4),
        sampled_from(ACTIONS),
    ),
    explained=(
        (
            r"^permit-access 203\.0\.0\.0/8\n(?s:.)*^deny-access 203\.0\.113\.10$",
            "open-if/closed",
            "none of our strangers comes from 203.0.0.0/8 but the one who is denied",
        ),
        (
            r"\A(?!(?s:.)*^enforce-blocks 1)(?s:.)*\+block\{",
            "open(-if)?/closed",
            "an action blocks every page; whoever puts /PRIVOXY-FORCE into the path is let past it (seen)",
        ),
    ),
)
