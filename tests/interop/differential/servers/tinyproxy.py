"""tinyproxy: Allow, Deny, ConnectPort, Filter, passwords and reverse paths."""

from hypothesis.strategies import builds, sampled_from
from tests.interop.differential.kit import Kit, some

HEAD = ["Port 8888", "Timeout 5", "MaxClients 20", "User nobody", "Group nogroup"]
LINES = [
    "Allow 127.0.0.1",
    "Allow 10.0.0.0/8",
    "Allow 0.0.0.0/0",
    "Allow ::/0",
    "Allow 64.0.0.0/6",
    "Allow 203.0.0.0/8",
    "Allow 10.0.0.0/255.0.0.0",
    "Allow .partner.example",
    "Deny 0.0.0.0/0",
    "Deny 203.0.113.10",
    "Deny 203.0.112.0/20",
    "Deny ::/0",
    "Deny 198.0.0.0/8",
    "ConnectPort 443",
    "ConnectPort 25",
    "ConnectPort 587",
    "ConnectPort 0",
    "BasicAuth relay secret",
    "ReverseOnly Yes",
    'ReversePath "/x/" "http://192.0.2.31/"',
    "Listen 198.51.100.10",
    "Listen 127.0.0.1",
    "Listen ::",
    'Filter "/etc/tinyproxy/filter"',
    "FilterDefaultDeny Yes",
    "FilterType fnmatch",
    "FilterExtended On",
    "FilterURLs On",
    "DisableViaHeader Yes",
    'Anonymous "Host"',
]
FILTERS = ["\\.example$\n", ".*\n", "^canary", "bad\n", "*.example\n", "^203\\.\n", "^nothing\\.example$\n"]

KIT = Kit(
    server="tinyproxy",
    case="tinyproxy-open",
    probes=("http-connect", "http-forward", "http-misrouting"),
    configurations=builds(
        lambda lines, words: {
            "/etc/tinyproxy/tinyproxy.conf": "\n".join([*HEAD, *lines, ""]),
            "/etc/tinyproxy/filter": words,
        },
        some(LINES, at_most=5),
        sampled_from(FILTERS),
    ),
)
