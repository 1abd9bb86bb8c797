"""OpenSMTPD: match and reject in every order, by whence, by whom and for what."""

from hypothesis.strategies import SearchStrategy, composite, lists, sampled_from
from tests.interop.differential.kit import Files, Kit

FROM = [
    "",
    "",
    "from any",
    "from any",
    "from any",
    "from local",
    "from src 0.0.0.0/0",
    "from src 10.0.0.0/8",
    "from src 64.0.0.0/6",
    "from src <nets>",
    "!from src 203.0.0.0/8",
    "from auth",
]
BY = [
    "",
    "",
    "",
    'mail-from "@partner.example"',
    'helo "relay.partner.example"',
    '!mail-from "@own.example"',
    "auth",
    "!auth",
]
FOR = [
    "for any",
    "for any",
    "for local",
    'for domain "own.example"',
    "for domain <domains>",
    'for domain regex "example$"',
    '!for domain "own.example"',
    'for rcpt-to "@own.example"',
]
ACTIONS = ['action "relay"', 'action "relay"', 'action "relay"', 'action "mailbox"', "reject"]
NETS = ["10.0.0.0/8", "0.0.0.0/0", "64.0.0.0/6", "10.0.0.0/8, 203.0.0.0/8"]
DOMAINS = ['"own.example"', '"own.example", "partner.example"', '"*.example"', '"*"']


@composite
def configurations(draw) -> Files:
    """Tables, listeners, and rules."""
    rules = []
    parts = [sampled_from(part) for part in (FROM, BY, FOR, ACTIONS)]
    for _ in draw(lists(sampled_from([1]), min_size=1, max_size=4)):
        whence, whom, what, action = (draw(part) for part in parts)
        rules.append(" ".join(filter(None, ["match", whence, whom, what, action])))
    return {
        "/etc/smtpd.conf": HEAD.format(draw(sampled_from(NETS)), draw(sampled_from(DOMAINS)))
        + "\n".join([*rules, ""]),
        "/etc/aliases": "postmaster: root\n",
    }


HEAD = """\
table aliases file:/etc/aliases
table nets {{ {} }}
table domains {{ {} }}
listen on 0.0.0.0
listen on ::
action "mailbox" mbox alias <aliases>
action "relay" relay
"""
STRATEGY: SearchStrategy[Files] = configurations()

KIT = Kit(
    server="opensmtpd",
    case="opensmtpd-open-any",
    probes=("smtp-relay",),
    configurations=STRATEGY,
    explained=(
        (
            r"from auth !?auth ",
            "closed/down",
            "OpenSMTPD takes no rule that says auth twice, and doesn't start; the audit sees that nobody passes",
        ),
    ),
    start="smtpd -f /etc/smtpd.conf",
)
