"""Broken configurations, each with the root that has its server: what ``audit --prove`` is tried on."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Broken:
    """One configuration with a hole."""

    server: str
    root: str
    """The lab's case whose root has the server installed."""
    main: str
    text: str
    more: dict[str, str] = field(default_factory=dict)
    """Other files of it."""
    proof: str = "canary-reached"
    allowed: tuple[str, ...] = ()
    is_quick: bool = False
    control: str = "kept"
    """What the mend leaves: "kept", "credentials" where somebody needs them now, "lost" where nobody is served any more."""

    def __str__(self) -> str:
        return self.server


POSTFIX = "compatibility_level = 3.6\nmydestination = $myhostname, shop.example\nmynetworks = 0.0.0.0/0\n"
EXIM = "dc_eximconfig_configtype='internet'\ndc_relay_nets='0.0.0.0/0 ; ::0/0'\ndc_use_split_config='false'\n"
SENDMAIL = """\
divert(0)dnl
include(`/usr/share/sendmail/cf/m4/cf.m4')dnl
OSTYPE(`debian')dnl
DOMAIN(`debian-mta')dnl
LOCAL_DOMAIN(`shop.example')dnl
DAEMON_OPTIONS(`Family=inet6, Name=MTA, Port=smtp')dnl
FEATURE(`promiscuous_relay')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
"""
OPENSMTPD = """\
table aliases file:/etc/aliases
listen on 0.0.0.0
listen on ::
action "mailbox" mbox alias <aliases>
action "relay" relay
match for local action "mailbox"
match from any for domain "shop.example" action "mailbox"
match from any for any action "relay"
"""
SQUID = "http_port 3128\nhttp_access allow all\n"
APACHE = """\
ServerName server.example
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule authz_host_module /usr/lib/apache2/modules/mod_authz_host.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule proxy_connect_module /usr/lib/apache2/modules/mod_proxy_connect.so
User www-data
Group www-data
PidFile /run/apache2/apache2.pid
ErrorLog /var/log/apache2/error.log
Listen 80
<VirtualHost *:80>
    ProxyRequests On
    <Proxy "*">
        Require all granted
    </Proxy>
</VirtualHost>
"""
NGINX = """\
events {}
http {
    server {
        listen 80;
        listen [::]:80;
        resolver 203.0.113.53;
        location / {
            proxy_pass http://$http_host$request_uri;
        }
    }
}
"""
HAPROXY = """\
defaults
    timeout connect 5s
    timeout client 30s
    timeout server 30s

resolvers lab
    nameserver dns 203.0.113.53:53
    resolve_retries 1
    timeout resolve 500ms
    timeout retry 500ms

listen forward
    mode http
    bind *:8080
    bind [::]:8080 v6only
    http-request do-resolve(txn.to,lab,ipv4) hdr(host),host_only
    http-request set-var(txn.to) hdr(host),host_only if !{ var(txn.to) -m found }
    http-request set-dst var(txn.to)
    http-request set-dst-port hdr(host),port_only
    server any 0.0.0.0:0
"""
PRIVOXY = "confdir /etc/privoxy\nlogdir /var/log/privoxy\nlisten-address :8118\n"
DANTE = """\
logoutput: /var/log/danted.log
internal: 0.0.0.0 port = 1080
external: eth0
external.rotation: route
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: nobody
client pass { from: 0/0 to: 0/0 }
socks pass { from: 0/0 to: 0/0 }
"""
MICROSOCKS = (
    "[Unit]\nDescription=SOCKS5\n\n[Service]\nUser=nobody\nExecStart=/usr/bin/microsocks -i :: -p 1080\n"
)
COTURN = "no-tls\nno-dtls\nno-cli\nrealm=server.example\nno-auth\n"
SNIPROXY = """\
user daemon
pidfile /run/sniproxy.pid

resolver {
    nameserver 203.0.113.53
    mode ipv4_only
}

listener 0.0.0.0:80 {
    proto http
    table web
}

listener 0.0.0.0:443 {
    proto tls
    table tls
}

table web {
    shop.example 198.51.100.10:8080
    .* *:80
}

table tls {
    .* *:443
}
"""
OPENSSH = "Port 22\nPermitEmptyPasswords yes\nUsePAM no\nAllowTcpForwarding yes\n"
CADDY = """\
{
\tadmin off
\tauto_https off
}

:80 {
\treverse_proxy {http.request.host}:80
}
"""

# An account without a password, which the machine has and not the server's own files.
ACCOUNT = {
    "passwd": """\
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
sshd:x:100:65534::/run/sshd:/usr/sbin/nologin
anonymous:x:1000:1000::/:/usr/sbin/nologin
""",
    "shadow": "root:*:20000::::::\nsshd:!:20000::::::\nanonymous::20000::::::\n",
}
OURS = ("10.1.0.0/16", "fd00:1::/64")
BROKEN = (
    Broken(
        "postfix", "postfix-open-mynetworks", "postfix/main.cf", POSTFIX, proof="delivered", is_quick=True
    ),
    Broken("exim", "exim-open-nets", "exim4/update-exim4.conf.conf", EXIM, proof="delivered", is_quick=True),
    Broken("sendmail", "sendmail-promiscuous", "mail/sendmail.mc", SENDMAIL, proof="delivered"),
    Broken("opensmtpd", "opensmtpd-open-any", "smtpd.conf", OPENSMTPD, proof="delivered", allowed=OURS),
    Broken("squid", "squid-open", "squid/squid.conf", SQUID, is_quick=True),
    Broken("apache", "apache-proxy-open", "apache2/apache2.conf", APACHE, allowed=OURS),
    Broken("nginx", "nginx-forward-open", "nginx/nginx.conf", NGINX, allowed=OURS),
    Broken("haproxy", "haproxy-forward-open", "haproxy/haproxy.cfg", HAPROXY, allowed=OURS),
    Broken("tinyproxy", "tinyproxy-open", "tinyproxy/tinyproxy.conf", "Port 8888\nTimeout 30\n"),
    Broken("privoxy", "privoxy-open", "privoxy/config", PRIVOXY, allowed=OURS),
    Broken("dante", "dante-open", "danted.conf", DANTE),
    Broken("microsocks", "microsocks-open", "systemd/system/microsocks.service", MICROSOCKS),
    Broken("caddy", "caddy-misrouting", "caddy/Caddyfile", CADDY, allowed=OURS),
    Broken("coturn", "coturn-open", "turnserver.conf", COTURN, control="credentials"),
    Broken("openssh", "openssh-none-open", "ssh/sshd_config", OPENSSH, more=ACCOUNT, control="credentials"),
    Broken("sniproxy", "sniproxy-open", "sniproxy.conf", SNIPROXY, control="lost"),
)
