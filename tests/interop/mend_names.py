"""What a remedy's steps call things, and what the lab calls them.

A remedy speaks of ``example.org``, of paths as its software's manual gives them, and of systemd, which the
lab's rooms don't have. Here stands everything that is put in place of such names, and nothing else.
"""

import re
from dataclasses import dataclass

import msgspec

from .lab import plan
from .lab.cases import Case

#: The host of a proxy's own users, on the servers' side, and the site that a reverse proxy stands before.
INSIDE = plan.Home("inside", plan.SERVERS, 5, further=(6,))
SITE = f"{plan.SERVERS.prefix}.6"

#: The names that every remedy uses.
_OF_THE_CASE = {
    "mail.example.org": plan.host_name,
    "example.org": plan.hosted_domain,
    "192.0.2.30": lambda case: plan.home(case).address,  # the server's own address
}

#: And those of proxies' remedies: the proxy under its names, its users' network, the site, and what strangers ask for.
_OF_A_PROXY = {
    "proxy.example.org": plan.host_name,
    "turn.example.org": plan.host_name,
    "ftp.example.org": plan.host_name,
    "192.0.2.0/24": lambda _: f"{plan.SERVERS.prefix}.0/24",
    "192.0.2.0": lambda _: f"{plan.SERVERS.prefix}.0",
    "192.0.2.31:8080": lambda _: f"{SITE}:80",
    "192.0.2.31": lambda _: SITE,
    "canary.elsewhere.example": lambda _: plan.CANARY,
    "198.51.100.9": lambda _: plan.SINK,
    "-r 3480": lambda _: "-r 40025",
    "198,51,100,9,156,89": lambda _: f"{plan.SINK.replace('.', ',')},156,89",
}

#: Of a proxy that isn't where its remedy takes it to be; in this order.
_AT_ANOTHER_PORT = {
    "squid-on-1080": {"3128": "1080"},
    "squid-tls": {
        "-x http://proxy.example.org:3128": "--proxy-insecure -x https://proxy.example.org:3129",
    },
    "microsocks-on-8080": {"1080": "8080"},
    "apache-connect-25": {"example.org:8080": "example.org:80"},
    "envoy-open": {"10000": "8080"},
    "haproxy-forward-open": {"proxy.example.org:80": "proxy.example.org"}
    | {"proxy.example.org": "proxy.example.org:8080"},
}

#: Of a server that takes the domain's mail for another, the domain is one that it relays to.
_RELAYED_TO = {"postfix-backup-mx", "sendmail-loose-relay"}

#: Of a server that shares its machine with the gateway, the address that faces it is the loopback.
_BEHIND_A_GATEWAY = {"postfix-gateway-hidden-client"}

#: Where Debian, or the lab's small configuration, has another name for it.
_OF_THE_SOFTWARE = {
    "apache": {"/etc/apache2/sites-available/000-default.conf": "/etc/apache2/sites-enabled/lab.conf"},
    "envoy": {"envoy --mode": "/opt/pip/envoy/_bin/envoy --mode"},
    "nginx": {"/etc/nginx/sites-available/default": "/etc/nginx/nginx.conf"},
    "exim": {"/etc/exim/exim.conf": "/etc/exim4/exim4.conf", "acl_check_rcpt": "check_rcpt"},
    "postfix": {
        "/var/log/mail.log": "/var/log/syslog",
        "/etc/letsencrypt/live/mail.example.org/privkey.pem": "/etc/ssl/private/ssl-cert-snakeoil.key",
        "/etc/letsencrypt/live/mail.example.org/fullchain.pem": "/etc/ssl/certs/ssl-cert-snakeoil.pem",
    },
}

#: Where relative paths begin.
FOLDERS = {"haraka": "/etc/haraka"}

_PASSWORD = "$6$relaywatch$Sbku1sMipEnQ.Rz2nstjzMBKvwoQHBCF1dsFYyXH6ZeTZ2RBIrCBXhljUENQs3FwtCdC.2noyurMY6p1yVYdd/"  # of CHANGE-THIS-PASSWORD

_CYRUS = (
    "mkdir -p /etc/postfix/sasl",
    "printf 'pwcheck_method: auxprop\\nmech_list: PLAIN LOGIN\\n' > /etc/postfix/sasl/smtpd.conf",
)

#: A user with the password of the remedies, in the group that the remedy for OpenSSH names.
_ONE_USER = (
    "groupadd tunnel",
    f"useradd -M -s /usr/sbin/nologin -G tunnel -p '{_PASSWORD}' relay",
)

#: What systemd would do with the unit of microsocks, which no package has.
_MICROSOCKS = "sh -c \"$(sed -n 's/^ExecStart=//p' /etc/systemd/system/microsocks.service)\" &"

#: Instead of the case's own way to start it.
_STARTED_BY_ITS_UNIT = {"microsocks-open", "microsocks-on-8080", "chain-socks-loopback"}

#: What a remedy takes for granted on the server, beyond what the case has: packages, and shell lines.
_GRANTED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "postfix-submission-noauth": (("libsasl2-modules",), _CYRUS),
    "postfix-smtps-noauth": (("libsasl2-modules",), _CYRUS),
    "postfix-xclient": (("nftables",), ()),
    "postfix-gateway-hidden-client": (("nftables",), ()),
    "postfix-open-mynetworks": (("perl",), ()),  # qshape
    "exim-open-nets": (("perl",), ()),  # exiqgrep
    "squid-open": (("iproute2", "nftables"), ()),  # of its emergency remedy
    "dante-open": ((), _ONE_USER),
    "dante-connect-443-only": ((), _ONE_USER),
    "openssh-none-open": ((), _ONE_USER),
    "openssh-none-443-only": ((), _ONE_USER),
}

_SERVICE = re.compile(r"systemctl (?P<verb>restart|reload|stop|start) [\w.@ -]+")
_RELOAD = "systemctl daemon-reload"
_JOURNAL = re.compile(r"journalctl\b.*")


@dataclass(frozen=True, slots=True)
class Service:
    """A command to the init system."""

    stops: bool
    starts: bool


def command(text: str) -> str | Service:
    """Return a step's command as the room can carry it out: a shell line, or what to do with the server."""
    if found := _SERVICE.fullmatch(text):
        verb = found["verb"]
        return Service(stops=verb != "start", starts=verb != "stop")
    if text == _RELOAD:
        return "true"
    return _JOURNAL.sub("cat /var/log/syslog", text)


def filled(text: str, case: Case) -> str:
    """Put a case's names in the place of a remedy's."""
    names = dict(_OF_THE_SOFTWARE.get(case.software, {}))
    names |= {name: value(case) for name, value in _OF_THE_CASE.items()}
    if case.is_proxy:
        names |= {name: value(case) for name, value in _OF_A_PROXY.items()}
    for port, another in _AT_ANOTHER_PORT.get(case.name, {}).items():
        text = text.replace(port, another)
    if case.name in _RELAYED_TO:
        names["example.net"] = plan.hosted_domain(case)
    if case.name in _BEHIND_A_GATEWAY:
        names["192.0.2.30"] = "127.0.0.1"
    in_expressions = {_escaped(name): _escaped(value) for name, value in names.items()}
    names = in_expressions | names
    longest_first = sorted(names, key=len, reverse=True)
    pattern = "|".join(rf"(?<![\w.]){re.escape(name)}(?![\w]|\.\w)" for name in longest_first)
    return re.sub(pattern, lambda found: names[found[0]], text)


def _escaped(name: str) -> str:
    return name.replace(".", r"\.")


def granted(case: Case) -> Case:
    """Return the case with what its remedy takes for granted."""
    packages, lines = _GRANTED.get(case.name, ((), ()))
    prepare, start = (*lines, *case.prepare), case.start
    if case.name in _STARTED_BY_ITS_UNIT:
        line = next(line for line in start if line.startswith("microsocks "))
        unit = f"ExecStart=/usr/bin/{line.removesuffix(' &')}"
        prepare += (f"mkdir -p /etc/systemd/system; echo '{unit}' > /etc/systemd/system/microsocks.service",)
        start = tuple(_MICROSOCKS if each == line else each for each in start)
    return msgspec.structs.replace(case, packages=(*case.packages, *packages), prepare=prepare, start=start)
