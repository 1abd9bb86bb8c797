"""Broken configurations with users who sign in: what ``audit --prove --login`` is tried on."""

from dataclasses import dataclass, field

USER, PASSWORD = "alice", "open sesame"
_APR1 = "$apr1$relaywat$11j3D5Xghogvl7eIwFe/Z."
_SHA512 = (
    "$6$relaywatch$90xqV3CKliorS7UHK0mqGVo2YTUo/j/lRNqvZM5JSiFapaic6T2KVn8/wrlGod9Hm5gQdtYib5m6YW4N6as3J0"
)


@dataclass(frozen=True, slots=True)
class SignIn:
    """One configuration with a hole, and with users of its own."""

    server: str
    root: str
    main: str
    text: str
    more: dict[str, str] = field(default_factory=dict)
    protocol: str = "smtp"
    signed_in: str = "kept"
    is_proven: bool = True
    needs_certificate: bool = False
    is_quick: bool = False
    name: str = ""

    def __str__(self) -> str:
        return self.name or self.server


EXIM = """\
primary_hostname = server.example
domainlist local_domains = server.example
hostlist relay_from_hosts = <; 0.0.0.0/0 ; ::0/0
acl_smtp_rcpt = acl_check_rcpt

begin acl

acl_check_rcpt:
  accept hosts = +relay_from_hosts
  accept authenticated = *
  accept domains = +local_domains
  deny message = relay not permitted

begin routers

outside:
  driver = dnslookup
  domains = ! +local_domains
  transport = remote_smtp
  no_more

begin transports

remote_smtp:
  driver = smtp

begin authenticators

plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if eq{$auth3}{${lookup{$auth2}lsearch{/etc/exim4/users}{$value}fail}}}
  server_set_id = $auth2
"""
EXIM_LOGIN = EXIM.replace("PLAIN", "LOGIN").replace(
    "server_prompts = :", "server_prompts = User:: : Password::"
)
EXIM_LOGIN = EXIM_LOGIN.replace("$auth2", "$auth1").replace("$auth3", "$auth2")
SQUID = """\
auth_param basic program /usr/lib/squid/basic_ncsa_auth /etc/squid/users
acl users proxy_auth REQUIRED
http_port 3128
http_access allow all
http_access allow users
http_access deny all
"""
OPENSMTPD = """\
pki server.example cert "/etc/mail.pem"
pki server.example key "/etc/mail.key"
table aliases file:/etc/aliases
table creds file:/etc/mail-users
listen on 0.0.0.0 tls pki server.example auth-optional <creds>
listen on :: tls pki server.example auth-optional <creds>
action "mailbox" mbox alias <aliases>
action "relay" relay
match for local action "mailbox"
match from any for domain "shop.example" action "mailbox"
match from any auth for any action "relay"
match from any for any action "relay"
"""
DANTE = """\
logoutput: /var/log/danted.log
internal: 0.0.0.0 port = 1080
external: eth0
external.rotation: route
socksmethod: username none
clientmethod: none
user.privileged: root
user.unprivileged: nobody
client pass { from: 0/0 to: 0/0 }
socks pass { from: 0/0 to: 0/0 }
"""
PASSWD = """\
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
alice:x:1000:1000::/:/usr/sbin/nologin
"""
SHADOW = f"root:*:20000::::::\nalice:{_SHA512}:20000::::::\n"
SIGN_INS = (
    SignIn(
        "exim",
        "exim-open-nets",
        "exim4/exim4.conf",
        EXIM,
        more={"exim4/users": f"{USER}: {PASSWORD}\n"},
        is_quick=True,
    ),
    SignIn(
        "exim",
        "exim-open-nets",
        "exim4/exim4.conf",
        EXIM_LOGIN,
        more={"exim4/users": f"{USER}: {PASSWORD}\n"},
        name="exim-login",
    ),
    SignIn(
        "squid",
        "squid-open",
        "squid/squid.conf",
        SQUID,
        more={"squid/users": f"{USER}:{_APR1}\n"},
        protocol="http",
        is_quick=True,
    ),
    SignIn(
        "opensmtpd",
        "opensmtpd-open-any",
        "smtpd.conf",
        OPENSMTPD,
        more={"mail-users": f"{USER} {_SHA512}\n"},
        needs_certificate=True,
    ),
    SignIn(
        "dante",
        "dante-open",
        "danted.conf",
        DANTE,
        more={"passwd": PASSWD, "shadow": SHADOW},
        protocol="socks5",
        signed_in="lost",
        is_proven=False,
    ),
)
