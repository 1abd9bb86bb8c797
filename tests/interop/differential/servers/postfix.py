"""Postfix: networks, both lists of restrictions, tables, domains, compatibility levels, and master.cf's own."""

from hypothesis.strategies import SearchStrategy, composite, integers, sampled_from
from tests.interop.differential.kit import Files, Kit, some

HEAD = [
    "myhostname = server.example",
    "mydestination = $myhostname, localhost",
    "alias_maps =",
    "mailbox_size_limit = 0",
    "smtpd_error_sleep_time = 0",
    "smtpd_soft_error_limit = 1000",
    "smtpd_hard_error_limit = 2000",
    "maillog_file = /var/log/postfix.log",
]
NETWORKS = [
    "127.0.0.0/8",
    "127.0.0.0/8 [::1]/128 10.0.0.0/8",
    "0.0.0.0/0",
    "0.0.0.0/1, 128.0.0.0/1",
    "!203.0.113.10, 0.0.0.0/0",
    "!203.0.0.0/8, !64.0.0.0/6, 0.0.0.0/0",
    "127.0.0.1/32 [::ffff:0:0]/96",
    "127.0.0.0/8 64.0.0.0/6",
    "[::]/0",
    "cidr:/etc/postfix/networks.cidr",
    "127.0.0.0/8 10.0.0.0/8",
    "127.0.0.0/8 [::1]/128",
    "127.0.0.0/8 203.0.0.0/8",
]
RESTRICTIONS = [
    "permit_mynetworks",
    "permit_sasl_authenticated",
    "reject_unauth_destination",
    "defer_unauth_destination",
    "warn_if_reject reject_unauth_destination",
    "check_sender_access texthash:/etc/postfix/senders",
    "check_sender_access regexp:/etc/postfix/senders.regexp",
    "check_helo_access texthash:/etc/postfix/helos",
    "check_recipient_access texthash:/etc/postfix/recipients",
    "check_client_access cidr:/etc/postfix/clients.cidr",
    "check_client_access texthash:/etc/postfix/clients",
    "check_client_access static:OK",
    "permit_inet_interfaces",
    "permit_auth_destination",
    "reject_non_fqdn_recipient",
    "reject_unknown_sender_domain",
    "check_sender_access inline:{partner.example=permit_mynetworks}",
    "partners",
    "permit",
    "reject",
    "defer",
]
DOMAINS = [
    "",
    "",
    "",
    "own.example",
    "example",
    "static:all",
    "regexp:/etc/postfix/domains.regexp",
    "inline:{own.example=x}",
    "texthash:/etc/postfix/recipients",
]
FURTHER = [
    "mynetworks_style = subnet",
    "mynetworks_style = host",
    "parent_domain_matches_subdomains =",
    "allow_untrusted_routing = yes",
    "smtpd_delay_reject = no",
    "smtpd_authorized_xclient_hosts = 0.0.0.0/0",
    "smtpd_helo_required = yes",
    "smtpd_client_restrictions = permit",
    "smtpd_sender_restrictions = check_sender_access texthash:/etc/postfix/senders",
    "smtpd_sender_restrictions = reject_unknown_sender_domain",
    "smtpd_client_restrictions = permit_mynetworks, reject",
    "smtpd_reject_unlisted_recipient = no",
]
OVERRIDES = [
    "",
    "",
    "",
    "  -o mynetworks=0.0.0.0/0\n",
    "  -o smtpd_relay_restrictions=\n",
    "  -o smtpd_recipient_restrictions=permit_mynetworks,reject\n",
    "  -o smtpd_relay_restrictions=permit_mynetworks,reject_unauth_destination\n",
    "  -o { smtpd_relay_restrictions = permit_mynetworks, defer }\n",
]
TABLES = {
    "/etc/postfix/senders": [
        "partner.example OK\n",
        "partner.example permit_mynetworks\n",
        "nobody@own.example OK\n",
    ],
    "/etc/postfix/senders.regexp": ["/@partner\\.example$/ OK\n", "/./ DUNNO\n", "/^/ REJECT\n"],
    "/etc/postfix/helos": ["relay.partner.example OK\n", "stranger.example OK\n", "partner.example DUNNO\n"],
    "/etc/postfix/recipients": [
        "sink.example OK\n",
        "own.example OK\n",
        "sink.example reject_unauth_destination\n",
    ],
    "/etc/postfix/clients.cidr": [
        "64.0.0.0/6 OK\n",
        "0.0.0.0/0 OK\n",
        "10.0.0.0/8 OK\n",
        "203.0.0.0/8 REJECT\n",
    ],
    "/etc/postfix/clients": ["partner.example OK\n", "10 OK\n", "203 OK\n"],
    "/etc/postfix/networks.cidr": ["64.0.0.0/6 OK\n", "0.0.0.0/0 x\n", "203.0.113.10 REJECT\n0.0.0.0/0 OK\n"],
    "/etc/postfix/domains.regexp": ["/example/ x\n", "/own\\.example/ x\n", "/^own\\.example$/ x\n"],
}
CLASSES = ["permit_mynetworks, reject", "check_sender_access texthash:/etc/postfix/senders", "permit"]


@composite
def configurations(draw) -> Files:
    """A main.cf, a master.cf, and the tables that are named."""
    lines = [*HEAD, f"compatibility_level = {draw(sampled_from(['3.6', '3.6', '2', '0']))}"]
    lines.append(f"mynetworks = {draw(sampled_from(NETWORKS))}")
    relay = draw(sampled_from(["shipped", "some", "some", "some", "empty", "left"]))
    if relay == "shipped":
        lines.append(
            "smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination"
        )
    elif relay != "left":
        told = draw(some(RESTRICTIONS, at_most=4)) if relay == "some" else []
        end = ["reject_unauth_destination"] if told and draw(integers(0, 5)) else []
        lines.append(f"smtpd_relay_restrictions = {', '.join([*told, *end])}")
    if draw(sampled_from([True, False])):
        lines.append(f"smtpd_recipient_restrictions = {', '.join(draw(some(RESTRICTIONS, at_most=3)))}")
    if domains := draw(sampled_from(DOMAINS)):
        where = draw(
            sampled_from(
                ["relay_domains", "relay_domains", "virtual_alias_domains", "virtual_mailbox_domains"]
            )
        )
        lines.append(f"{where} = {domains}")
    lines += draw(some(FURTHER, at_most=2))
    lines += ["smtpd_restriction_classes = partners", f"partners = {draw(sampled_from(CLASSES))}"]
    files = {
        "/etc/postfix/main.cf": "\n".join([*lines, ""]),
        "/etc/postfix/master.cf": MASTER.format(draw(sampled_from(OVERRIDES))),
    }
    text = "\n".join(files.values())
    for path, options in TABLES.items():
        if path in text:
            files[path] = draw(sampled_from(options))
    return files


MASTER = """\
smtp      inet  n       -       n       -       -       smtpd
{}postlog   unix-dgram n  -       n       -       1       postlogd
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
local     unix  -       n       n       -       -       local
virtual   unix  -       n       n       -       -       virtual
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
"""
STRATEGY: SearchStrategy[Files] = configurations()

KIT = Kit(
    server="postfix",
    case="postfix-open-mynetworks",
    probes=("smtp-relay",),
    configurations=STRATEGY,
    start="postfix start",
    explained=(
        (
            r"^(virtual_alias_domains|virtual_mailbox_domains|mydestination) = (static|regexp)",
            "open(-if)?/closed",
            "every domain is this server's own: it takes or defers mail for all of them and passes none on",
        ),
    ),
)
