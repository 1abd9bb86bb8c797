"""How each server is started in the sandbox: lines of sh, with ``$MAIN`` as its main file in there."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from types import MappingProxyType

from relaywatch.model.places import Service

_POSTFIX = """
newaliases
for map in $(postconf -n | grep -oE '(hash|btree|lmdb|cdb):/[^ ,]+'); do
    [ ! -f "${map#*:}" ] || postmap "$map"
done
if [ -x /etc/init.d/postfix ]; then /etc/init.d/postfix start; else postfix start; fi
"""
_EXIM = """
newaliases 2> /dev/null
if command -v exim4 > /dev/null; then
    case "$MAIN" in
        */update-exim4.conf.conf) update-exim4.conf ;;
        /etc/exim4/exim4.conf) ;;
        *) cp "$MAIN" /etc/exim4/exim4.conf ;;
    esac
    exim4 -bd -q10m
else
    exim -C "$MAIN" -bd -q10m
fi
"""
_APACHE = """
if [ -f /etc/apache2/envvars ]; then
    . /etc/apache2/envvars
    mkdir -p "$APACHE_RUN_DIR" "$APACHE_LOCK_DIR" "$APACHE_LOG_DIR"
    apache2 -f "$MAIN" -k start
else
    httpd -f "$MAIN" -k start
fi
"""
_SQUID = """
if grep -q '^ *cache_dir' "$MAIN"; then squid -f "$MAIN" -N -z; fi
squid -f "$MAIN"
"""
_TINYPROXY = """
mkdir -p /run/tinyproxy /var/log/tinyproxy
user=$(sed -n 's/^ *[Uu]ser *"\\{0,1\\}\\([^" ]*\\).*/\\1/p' "$MAIN" | tail -n 1)
[ -z "$user" ] || chown -R "$user" /run/tinyproxy /var/log/tinyproxy
tinyproxy -c "$MAIN"
"""
_DANTE = 'if command -v danted > /dev/null; then danted -D -f "$MAIN"; else sockd -D -f "$MAIN"; fi'
_SENDMAIL = """
case "$MAIN" in *.mc) m4 "$MAIN" > /etc/mail/sendmail.cf ;; esac
for map in access mailertable virtusertable domaintable; do
    [ ! -f "/etc/mail/$map" ] || makemap hash "/etc/mail/$map" < "/etc/mail/$map"
done
newaliases
mkdir -p /run/sendmail/mta /var/lib/sendmail/host_status
sendmail -bd -q15m
"""
_COMMANDS = "$COMMANDS"
"""Stands for the command lines that the configuration is."""
_PROGRAMS: dict[str, tuple[str, str]] = {
    "postfix": ("postfix", _POSTFIX),
    "exim": ("exim4 exim", _EXIM),
    "sendmail": ("sendmail", _SENDMAIL),
    "opensmtpd": ("smtpd", 'newaliases 2> /dev/null; smtpd -f "$MAIN"'),
    "squid": ("squid", _SQUID),
    "tinyproxy": ("tinyproxy", _TINYPROXY),
    "nginx": ("nginx", 'mkdir -p /var/log/nginx /var/lib/nginx; nginx -c "$MAIN"'),
    "apache": ("apache2 httpd", _APACHE),
    "haproxy": ("haproxy", 'mkdir -p /run/haproxy; haproxy -D -f "$MAIN"'),
    "privoxy": ("privoxy", 'privoxy --pidfile /run/privoxy.pid "$MAIN"'),
    "dante": ("danted sockd", _DANTE),
    "sniproxy": ("sniproxy", 'sniproxy -c "$MAIN"'),
    "caddy": ("caddy", 'HOME=/root caddy start --adapter caddyfile --config "$MAIN"'),
    "openssh": ("sshd", 'mkdir -p /run/sshd; ssh-keygen -A; "$(command -v sshd)" -f "$MAIN"'),
    "coturn": ("turnserver", 'turnserver -o -c "$MAIN"'),
    "microsocks": ("microsocks", _COMMANDS),
}
STARTED = frozenset(_PROGRAMS)
"""The servers that can be started."""
BY_COMMAND_LINE = frozenset(name for name, (_, lines) in _PROGRAMS.items() if lines == _COMMANDS)
"""Those whose configuration is the command line that starts them."""
SPEAKS: MappingProxyType[str, frozenset[Service]] = MappingProxyType(
    {
        "coturn": frozenset({Service.TURN}),
        "dante": frozenset({Service.SOCKS4, Service.SOCKS5}),
        "microsocks": frozenset({Service.SOCKS5}),
        "openssh": frozenset({Service.SSH}),
        "sniproxy": frozenset({Service.TLS, Service.HTTP}),
    }
)
"""What a server can speak, where that isn't much: what is asked in other words, it answers by silence."""
_ALIVE_SECONDS = "0.5"


def starting(server: str, main: str, commands: Iterable[Sequence[str]] = ()) -> str:
    """The lines that start a server with this main file; they fail, and say so, if it isn't installed.

    ``commands``: the words behind its name, once for each time that it is started (`BY_COMMAND_LINE`).

    :raises KeyError: for a server that can't be started.
    """
    programs, lines = _PROGRAMS[server]
    wanted = " || ".join(f"command -v {program} > /dev/null" for program in programs.split())
    first = programs.partition(" ")[0]
    if lines == _COMMANDS:
        # In the background, as a unit of systemd's is; one that ends at once has failed.
        lines = "\n".join(
            f"{shlex.join([first, *words])} & sleep {_ALIVE_SECONDS}; kill -0 $! || exit 1"
            for words in commands
        )
    return (
        f"MAIN={shlex.quote(main)}\n"
        f"{wanted} || {{ echo '{first}: not installed in this root'; exit 127; }}\n{lines.strip()}"
    )
