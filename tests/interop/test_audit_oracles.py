"""``relaywatch audit --oracle`` with the servers' real tools: they agree, and where something is wrong they say so.

The tools are those of the lab's roots, asked in a copy that is gone afterwards, in a network that leads nowhere.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field

import pytest
from tests.interop import proof_cases as given
from tests.interop.lab import roots
from tests.interop.lab.cases import all_cases

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

ENTER = """
set -eu
mount --make-rprivate /
mount -t tmpfs room "$POINT"
mkdir "$POINT/upper" "$POINT/work" "$POINT/root"
mount -t overlay -o "lowerdir=$LOWER,upperdir=$POINT/upper,workdir=$POINT/work" room "$POINT/root"
mkdir -p "$POINT/root$GIVEN"
mount --bind "$GIVEN" "$POINT/root$GIVEN"
mount -t proc proc "$POINT/root/proc"
mount --bind /dev "$POINT/root/dev"
ip link set lo up
[ -z "$PREPARE" ] || chroot "$POINT/root" sh -c "cd $GIVEN; $PREPARE"
exec "$@"
"""
WRAPPER = '#!/bin/sh\nexec chroot "{point}/root" {tool} "$@"\n'


@dataclass(frozen=True)
class Asked:
    """One configuration whose server's own tools are asked."""

    server: str
    root: str
    tools: str
    files: dict[str, str]
    prepare: str = ""
    wrong: dict[str, str] = field(default_factory=dict)
    """What makes the tool disagree: files in the place of those."""
    spoil: str = ""
    """Or lines of sh that do."""

    def __str__(self) -> str:
        return self.server


POSTFIX = "compatibility_level = 3.6\nmyhostname = mx.shop.example\nmydestination = $myhostname\nmynetworks = 127.0.0.0/8\n"
EXIM = """\
primary_hostname = mx.shop.example
hostlist relay_from_hosts = 127.0.0.1
acl_smtp_rcpt = acl_check_rcpt
begin acl
acl_check_rcpt:
  accept hosts = +relay_from_hosts
  deny message = relay not permitted
begin routers
all:
  driver = manualroute
  route_list = * 203.0.113.25
  transport = remote_smtp
begin transports
remote_smtp:
  driver = smtp
"""
TINY = {"sendmail.mc": given.SENDMAIL.replace("FEATURE(`promiscuous_relay')dnl\n", "")}
ASKED = (
    Asked(
        "postfix",
        "postfix-closed",
        "postconf postmap",
        {
            "main.cf": POSTFIX
            + "smtpd_sender_restrictions = check_sender_access hash:/etc/postfix/senders\n",
            "senders": "shop.example REJECT\n",
        },
        prepare="postmap hash:senders",
        spoil="echo 'shop.example OK' > senders",
    ),
    Asked("exim", "exim-closed", "exim4", {"exim4.conf": EXIM}),
    Asked(
        "exim",
        "exim-closed",
        "exim4",
        {"exim4.conf": EXIM.replace("relay_from_hosts = 127.0.0.1", "relay_from_hosts = 0.0.0.0/0")},
    ),
    Asked(
        "sendmail",
        "sendmail-closed",
        "sendmail",
        TINY,
        prepare="m4 sendmail.mc > sendmail.cf; rm sendmail.mc",
    ),
    Asked(
        "opensmtpd",
        "opensmtpd-closed",
        "smtpd",
        {"smtpd.conf": given.OPENSMTPD},
        wrong={"smtpd.conf": "bounce warn-interval soon\n" + given.OPENSMTPD},
    ),
    Asked(
        "squid",
        "squid-stock",
        "squid",
        {"squid.conf": "http_port 3128\nhttp_access deny all\n"},
        wrong={"squid.conf": "http_port 3128\nrefresh_pattern\nhttp_access deny all\n"},
    ),
    Asked(
        "apache",
        "apache-proxy-open",
        "apache2ctl",
        {"apache2.conf": given.APACHE},
        prepare="mkdir -p /run/apache2",
        wrong={"apache2.conf": given.APACHE + "DirectoryIndexes\n"},
    ),
    Asked(
        "nginx",
        "nginx-forward-open",
        "nginx",
        {"nginx.conf": "events {}\nhttp {\n    server {\n        listen 80;\n    }\n}\n"},
        wrong={
            "nginx.conf": "events {}\nhttp {\n    sendfile maybe;\n    server {\n        listen 80;\n    }\n}\n"
        },
    ),
    Asked(
        "haproxy",
        "haproxy-forward-open",
        "haproxy",
        {"haproxy.cfg": given.HAPROXY},
        wrong={"haproxy.cfg": given.HAPROXY + "    balance by-chance\n"},
    ),
    Asked(
        "openssh",
        "openssh-stock",
        "sshd",
        {"sshd_config": "Port 22\nPermitEmptyPasswords no\n"},
        prepare="mkdir -p /run/sshd; ssh-keygen -A > /dev/null",
        wrong={"sshd_config": "Port 22\nPermitEmptyPasswords no\nLoginGraceTime soon\n"},
    ),
    Asked("privoxy", "privoxy-open", "privoxy", {"config": given.PRIVOXY}),
    Asked(
        "dante",
        "dante-open",
        "danted",
        {"danted.conf": given.DANTE.replace("eth0", "lo")},
        wrong={"danted.conf": given.DANTE.replace("eth0", "lo") + "timeout.io: soon\n"},
    ),
    Asked(
        "caddy",
        "caddy-misrouting",
        "caddy",
        {"Caddyfile": given.CADDY},
        wrong={"Caddyfile": given.CADDY.replace("auto_https off", "auto_https sometimes")},
    ),
)


@pytest.fixture
def ask(a_place_for_the_lab, tmp_path):
    def asked(one, files, prepare):
        case = next(case for case in all_cases() if case.name == one.root)
        home, tools, point = tmp_path / "given", tmp_path / "tools", tmp_path / "point"
        for folder in (home, tools, point):
            folder.mkdir()
        for name, text in files.items():
            (home / name).write_text(text.replace("$GIVEN", str(home)))
        for tool in one.tools.split():
            (tools / tool).write_text(WRAPPER.format(point=point, tool=tool))
            (tools / tool).chmod(0o755)
        command = [
            "relaywatch.cli",
            "audit",
            str(home),
            "--server",
            one.server,
            "--oracle",
            "--format",
            "json",
        ]
        done = subprocess.run(
            ["unshare", "--mount", "--net", "sh", "-c", ENTER, "sh", sys.executable, "-m", *command],
            env={
                "PATH": f"{tools}:{os.environ['PATH']}",
                "LOWER": roots.stack(case),
                "POINT": str(point),
                "GIVEN": str(home),
                "PREPARE": prepare,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout.splitlines()[0])

    return asked


@pytest.mark.parametrize("one", ASKED, ids=str)
def test_the_server_s_own_tools_agree(ask, one):
    _, report = ask(one, one.files, one.prepare)
    outcomes = {answer["outcome"] for answer in report["oracles"]}
    assert outcomes == {"agrees"}, report["oracles"]


@pytest.mark.parametrize("one", [one for one in ASKED if one.wrong or one.spoil], ids=str)
def test_what_they_see_otherwise_is_told(ask, one):
    code, report = ask(one, one.files | one.wrong, "; ".join(filter(None, (one.prepare, one.spoil))))
    wrong = [answer for answer in report["oracles"] if answer["outcome"] == "disagrees"]
    assert wrong, (report["verdict"], report["oracles"])
    assert all(answer["theirs"] and answer["ours"] for answer in wrong)
    assert code != 0
