"""Exim: lists of hosts and domains, statements of the RCPT ACL in every order, percent hack, no ACL at all."""

from hypothesis.strategies import SearchStrategy, composite, sampled_from
from tests.interop.differential.kit import Files, Kit, some

HOSTS = [
    "127.0.0.1 : ::1",
    "*",
    "10.0.0.0/8",
    "64.0.0.0/6",
    "0.0.0.0/0",
    "<; 0.0.0.0/0 ; ::/0",
    "!203.0.0.0/8 : *",
    "",
]
DOMAINS = ["", "", "own.example", "*", "*.example", "^.*own.example", "partner.example", "!own.example : *"]
STATEMENTS = [
    "accept hosts = +relay_hosts",
    "accept hosts = +relay_hosts\n         control = submission",
    "accept hosts = :",
    "accept sender_domains = partner.example",
    "accept sender_domains = +local_domains",
    "accept senders = *@partner.example",
    "accept condition = ${if eq{$sender_helo_name}{relay.partner.example}}",
    "accept authenticated = *",
    "accept domains = +local_domains : +relay_domains\n         verify = recipient",
    "accept domains = +relay_domains\n         endpass\n         verify = recipient",
    "accept local_parts = postmaster\n         domains = +local_domains",
    "require domains = +local_domains : +relay_domains",
    "require message = relay not permitted\n          domains = +local_domains",
    "require verify = sender",
    "deny !domains = +local_domains : +relay_domains",
    "deny hosts = !+relay_hosts\n       domains = !+local_domains",
    "deny hosts = 203.0.0.0/8",
    "deny local_parts = ^.*[@%!/|]",
    "deny condition = no",
    "warn set acl_m0 = 1",
    "defer hosts = 203.0.0.0/8",
]
ENDS = ["accept", "accept", "deny", "deny message = relay not permitted", ""]
MAIN = [
    "percent_hack_domains = +local_domains",
    "helo_accept_junk_hosts = *",
    "acl_smtp_mail = check_mail",
    "",
]


@composite
def configurations(draw) -> Files:
    """A configuration written from nothing, as small as Exim takes it."""
    main = draw(sampled_from(MAIN))
    acl = draw(sampled_from(["acl_smtp_rcpt = check_rcpt"] * 8 + [""]))
    told = [*draw(some(STATEMENTS, at_most=4)), draw(sampled_from(ENDS))]
    text = CONFIGURATION.format(
        hosts=draw(sampled_from(HOSTS)),
        relay=draw(sampled_from(DOMAINS)),
        main=main,
        acl=acl,
        statements="\n".join(f"  {one}" for one in told if one),
    )
    return {"/etc/exim4/exim4.conf": text}


CONFIGURATION = """\
primary_hostname = server.example
domainlist local_domains = @ : localhost : own.example
domainlist relay_domains = {relay}
hostlist relay_hosts = {hosts}
smtp_accept_max = 100
{acl}
{main}

begin acl

check_mail:
  accept

check_rcpt:
{statements}

begin routers

outside:
  driver = dnslookup
  domains = ! +local_domains
  transport = remote_smtp
  no_more

users:
  driver = accept
  check_local_user
  transport = mailbox

begin transports

remote_smtp:
  driver = smtp

mailbox:
  driver = appendfile
  file = /var/mail/$local_part_data
"""
STRATEGY: SearchStrategy[Files] = configurations()

KIT = Kit(
    server="exim",
    case="exim-open-sender",
    probes=("smtp-relay",),
    configurations=STRATEGY,
    start="exim4 -C /etc/exim4/exim4.conf -bV > /dev/null && exim4 -bd -q10m",
)
