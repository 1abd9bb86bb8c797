"""Broken configurations with users who sign in: what ``audit --prove --login`` is tried on."""

import zlib
from base64 import b64decode
from dataclasses import dataclass, field

from tests.interop.proof_cases import APACHE, OURS

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
    more: dict[str, str | bytes] = field(default_factory=dict)
    protocol: str = "smtp"
    signed_in: str = "kept"
    is_proven: bool = True
    allowed: tuple[str, ...] = ()
    needs_certificate: bool = False
    """Certificate and key, in /etc/own.pem."""
    is_quick: bool = False
    name: str = ""

    def __str__(self) -> str:
        return self.name or self.server


POSTFIX = """\
compatibility_level = 3.6
mydestination = $myhostname, shop.example
mynetworks = 0.0.0.0/0 [::]/0
smtpd_tls_security_level = may
smtpd_tls_cert_file = /etc/own.pem
smtpd_tls_key_file = /etc/own.pem
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_local_domain = server.example
cyrus_sasl_config_path = /etc/postfix/sasl
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
"""
SASL = "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\n"
# printf 'open sesame' | saslpasswd2 -p -c -u server.example alice; the file, compressed, in base64.
SASLDB = zlib.decompress(
    b64decode(
        "eNrt2T0KwjAYxvG3HUSHGhd3HQXxAJ7CEwhBAy30i4ZWL+EhPIen0AMI4uohbNFC/ZgEEeH/g+RNAsmQ7eEVEXHkRvdb0qkW"
        "vXK0b2euvBp3RUZl9S+7YHu/7DTeqff7jT9/PgcAAAAAAL/xJqP3xDurk+JvAAAAAAD4j3A/dOJkavOFP82tyaSIpKozbe0q"
        "yZZ1/m/2+V05KPGOqpw/7v9X6P8DAAAAAPC1wJ+kJh5YY3VkHB0GCyNl3i9MNjFrHaWhecj/VyP/LJ4="
    )
)
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
_MODULES = "".join(
    f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
    for name in ("authn_core", "authn_file", "authz_user", "auth_basic")
)
_USERS = """\
        AuthType Basic
        AuthName proxy
        AuthUserFile /etc/apache2/users
        Require all granted
        Require valid-user
"""
APACHE_USERS = _MODULES + APACHE.replace("        Require all granted\n", _USERS)
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
        "postfix",
        "postfix-auth-required-587",
        "postfix/main.cf",
        POSTFIX,
        more={"postfix/sasl/smtpd.conf": SASL, "../var/spool/postfix/etc/sasldb2": SASLDB},
        needs_certificate=True,
    ),
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
        "apache",
        "apache-proxy-open",
        "apache2/apache2.conf",
        APACHE_USERS,
        more={"apache2/users": f"{USER}:{_APR1}\n"},
        protocol="http",
        allowed=OURS,
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
