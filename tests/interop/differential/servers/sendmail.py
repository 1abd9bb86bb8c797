"""Sendmail: the features that relay, the access map by every key, and classes of domains; sendmail.mc is audited."""

from hypothesis.strategies import SearchStrategy, composite, sampled_from
from tests.interop.differential.kit import Files, Kit, some

FEATURES = [
    "FEATURE(`promiscuous_relay')dnl",
    "FEATURE(`relay_local_from')dnl",
    "FEATURE(`relay_mail_from')dnl",
    "FEATURE(`relay_mail_from', `domain')dnl",
    "FEATURE(`loose_relay_check')dnl",
    "FEATURE(`relay_hosts_only')dnl",
    "FEATURE(`relay_entire_domain')dnl",
    "FEATURE(`accept_unqualified_senders')dnl",
    "FEATURE(`accept_unresolvable_domains')dnl",
    "FEATURE(`blocklist_recipients')dnl",
    "FEATURE(`delay_checks')dnl",
    "RELAY_DOMAIN(`own.example')dnl",
    "RELAY_DOMAIN(`example')dnl",
    "RELAY_DOMAIN(`10')dnl",
    "RELAY_DOMAIN(`partner.example')dnl",
    "LOCAL_DOMAIN(`own.example')dnl",
]
ACCESS = [
    "Connect:10 RELAY",
    "Connect:203 RELAY",
    "Connect:203.0.113.10 REJECT",
    "Connect:65 RELAY",
    "Connect:partner.example RELAY",
    "Connect:partner.example OK",
    "From:partner.example RELAY",
    "From:partner.example OK",
    "To:own.example RELAY",
    "To:example RELAY",
    "To:sink.example OK",
    "To:sink.example REJECT",
    "example RELAY",
    "partner.example RELAY",
    "partner.example OK",
    "stranger.example REJECT",
]


@composite
def configurations(draw) -> Files:
    """A sendmail.mc and its access map."""
    features = draw(some(FEATURES, at_most=3))
    has_map = draw(sampled_from([True, True, False]))
    if has_map:
        features.insert(0, "FEATURE(`access_db', `hash /etc/mail/access')dnl")
    files = {"/etc/mail/sendmail.mc": MC.format("\n".join(features))}
    files["/etc/hostname"] = "server.example\n"
    if has_map:
        files["/etc/mail/access"] = "\n".join([*draw(some(ACCESS, at_most=3)), ""])
    return files


MC = """\
divert(0)dnl
include(`/usr/share/sendmail/cf/m4/cf.m4')dnl
OSTYPE(`debian')dnl
DOMAIN(`debian-mta')dnl
DAEMON_OPTIONS(`Family=inet6, Name=MTA, Port=smtp')dnl
{}
MAILER(`local')dnl
MAILER(`smtp')dnl
"""
START = """
[ ! -f /etc/mail/access ] || makemap hash /etc/mail/access < /etc/mail/access
m4 /etc/mail/sendmail.mc > /etc/mail/sendmail.cf && newaliases && sendmail -bd -q15m
"""
STRATEGY: SearchStrategy[Files] = configurations()

KIT = Kit(
    server="sendmail",
    case="sendmail-promiscuous",
    probes=("smtp-relay",),
    configurations=STRATEGY,
    explained=(
        (
            r"`loose_relay_check'",
            "open-if/accepting",
            "it carries user%elsewhere@partner.example to partner.example, where nobody takes mail in our world",
        ),
    ),
    start="mkdir -p /run/sendmail/mta /var/lib/sendmail/host_status" + START,
)
