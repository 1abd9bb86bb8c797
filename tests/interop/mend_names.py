"""What a remedy's steps call things, and what the lab calls them.

A remedy speaks of ``example.org``, of paths as its software's manual gives them, and of systemd, which the
lab's rooms don't have. Here stands everything that is put in place of such names, and nothing else.
"""

import re
from dataclasses import dataclass

import msgspec

from .lab import plan
from .lab.cases import Case

#: The names that every remedy uses.
_OF_THE_CASE = {
    "mail.example.org": plan.host_name,
    "example.org": plan.hosted_domain,
    "192.0.2.30": lambda case: plan.home(case).address,  # the mail server's own address
}

#: Of a server that takes the domain's mail for another, the domain is one that it relays to.
_RELAYED_TO = {"postfix-backup-mx", "sendmail-loose-relay"}

#: Of a server that shares its machine with the gateway, the address that faces it is the loopback.
_BEHIND_A_GATEWAY = {"postfix-gateway-hidden-client"}

#: Where Debian, or the lab's small configuration, has another name for it.
_OF_THE_SOFTWARE = {
    "exim": {"/etc/exim/exim.conf": "/etc/exim4/exim4.conf", "acl_check_rcpt": "check_rcpt"},
    "postfix": {
        "/var/log/mail.log": "/var/log/syslog",
        "/etc/letsencrypt/live/mail.example.org/privkey.pem": "/etc/ssl/private/ssl-cert-snakeoil.key",
        "/etc/letsencrypt/live/mail.example.org/fullchain.pem": "/etc/ssl/certs/ssl-cert-snakeoil.pem",
    },
}

#: Where relative paths begin.
FOLDERS = {"haraka": "/etc/haraka"}

_CYRUS = (
    "mkdir -p /etc/postfix/sasl",
    "printf 'pwcheck_method: auxprop\\nmech_list: PLAIN LOGIN\\n' > /etc/postfix/sasl/smtpd.conf",
)

#: What a remedy takes for granted on the server, beyond what the case has: packages, and shell lines.
_GRANTED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "postfix-submission-noauth": (("libsasl2-modules",), _CYRUS),
    "postfix-smtps-noauth": (("libsasl2-modules",), _CYRUS),
    "postfix-xclient": (("nftables",), ()),
    "postfix-gateway-hidden-client": (("nftables",), ()),
    "postfix-open-mynetworks": (("perl",), ()),  # qshape
    "exim-open-nets": (("perl",), ()),  # exiqgrep
}

_SERVICE = re.compile(r"systemctl (?P<verb>restart|reload|stop|start) [\w.@ -]+")
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
    return _JOURNAL.sub("cat /var/log/syslog", text)


def filled(text: str, case: Case) -> str:
    """Put a case's names in the place of a remedy's."""
    names = dict(_OF_THE_SOFTWARE.get(case.software, {}))
    names |= {name: value(case) for name, value in _OF_THE_CASE.items()}
    if case.name in _RELAYED_TO:
        names["example.net"] = plan.hosted_domain(case)
    if case.name in _BEHIND_A_GATEWAY:
        names["192.0.2.30"] = "127.0.0.1"
    names |= {_escaped(name): _escaped(value) for name, value in names.items()}  # as expressions have them
    longest_first = sorted(names, key=len, reverse=True)
    pattern = "|".join(rf"(?<![\w.]){re.escape(name)}(?![\w]|\.\w)" for name in longest_first)
    return re.sub(pattern, lambda found: names[found[0]], text)


def _escaped(name: str) -> str:
    return name.replace(".", r"\.")


def granted(case: Case) -> Case:
    """Return the case with what its remedy takes for granted."""
    packages, lines = _GRANTED.get(case.name, ((), ()))
    return msgspec.structs.replace(
        case, packages=(*case.packages, *packages), prepare=(*lines, *case.prepare)
    )
