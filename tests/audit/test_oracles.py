"""Oracles, asked by programs that answer as the real ones were seen to: Postfix 3.7, Exim 4.96, Sendmail 8.17, nginx 1.22, Squid 5.7."""

import json
from pathlib import Path, PurePosixPath

import pytest
from click.testing import CliRunner

from relaywatch.audit.auditing import report
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.findings import AuditFinding, AuditVerdict, OracleOutcome, ServerReport
from relaywatch.audit.oracles import ORACLES, asked, asking, disagreements
from relaywatch.audit.server import load_servers
from relaywatch.audit.setup import Setup
from relaywatch.audit.trees import FolderTree, TextTree
from relaywatch.cli.main import relaywatch

AGREES, DISAGREES, SILENT = OracleOutcome.AGREES, OracleOutcome.DISAGREES, OracleOutcome.SILENT


@pytest.fixture
def tool(tmp_path, monkeypatch):
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(asking, "_PLACES", str(folder))

    def make(name, script):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return make


def told(name, tmp_path, files, *, given=None):
    home = tmp_path / "given"
    home.mkdir(exist_ok=True)
    for path, text in files.items():
        (home / path).write_text(text)
    main = home / next(iter(files))
    setup = Setup(
        tree=FolderTree(Path("/"), PurePosixPath(home)),
        main=PurePosixPath(main),
        home=PurePosixPath(load_servers()[name].home),
    )
    server = load_servers()[name]
    known = report(server, setup)
    return asked(server, setup, given or known).oracles


def outcomes(answers):
    return [(one.outcome, one.subject) for one in answers]


MAIN_CF = "compatibility_level = 3.6\nmyhostname = mx.shop.example\nmydestination = $myhostname,\n  localhost\nmynetworks = 127.0.0.0/8\n"
POSTCONF = """case "$*" in
*-x*) echo 'mydestination = mx.shop.example, localhost'; echo 'mynetworks = 127.0.0.0/8' ;;
*) echo 'mydestination = $myhostname, localhost'; echo 'mynetworks = 127.0.0.0/8' ;;
esac"""


def test_postconf_agrees(tool, tmp_path):
    tool("postconf", POSTCONF)
    answers = told("postfix", tmp_path, {"main.cf": MAIN_CF})
    assert outcomes(answers) == [
        (AGREES, "syntax"),
        (AGREES, "main.cf"),
        (AGREES, "main.cf, expanded"),
    ]


def test_postconf_that_reads_another_value_disagrees_at_its_line(tool, tmp_path):
    tool("postconf", POSTCONF.replace("127.0.0.0/8", "0.0.0.0/0"))
    answers = told("postfix", tmp_path, {"main.cf": MAIN_CF})
    wrong = [one for one in answers if one.outcome is DISAGREES]
    assert {(one.subject, one.theirs, one.ours) for one in wrong} == {
        ("mynetworks", "0.0.0.0/0", "127.0.0.0/8")
    }
    assert {one.position.line for one in wrong} == {5}


def test_what_hangs_on_the_machine_s_name_is_not_compared(tool, tmp_path):
    text = MAIN_CF.replace("myhostname = mx.shop.example\n", "")
    tool("postconf", POSTCONF.replace("mx.shop.example", "this-machine.example"))
    assert not [one for one in told("postfix", tmp_path, {"main.cf": text}) if one.outcome is DISAGREES]


def test_a_table_that_is_older_than_its_source_disagrees(tool, tmp_path):
    tool("postconf", "exit 0")
    tool("postmap", "cat > /dev/null; printf 'shop.example\\tOK\\n'")
    table = tmp_path / "given" / "senders"
    text = f"compatibility_level = 3.6\nsmtpd_sender_restrictions = check_sender_access hash:{table}\n"
    source = "# whom\nshop.example  REJECT\nnew.example OK\n"
    answers = told("postfix", tmp_path, {"main.cf": text, "senders": source})
    wrong = {(one.subject, one.theirs, one.ours) for one in answers if one.outcome is DISAGREES}
    assert wrong == {("shop.example", "OK", "REJECT"), ("new.example", "not found", "OK")}


def test_what_smtpd_alone_refuses_is_no_disagreement_of_postconf(tool, tmp_path):
    tool("postconf", "exit 0")
    answers = told("postfix", tmp_path, {"main.cf": "smtpd_relay_restrictions =\nmynetworks = 127.0.0.0/8\n"})
    assert not [one for one in answers if one.outcome is DISAGREES]


def test_a_table_that_can_t_be_looked_up_is_told(tool, tmp_path):
    tool("postconf", "exit 0")
    tool("postmap", "echo 'postmap: fatal: open database: No such file' >&2; exit 1")
    table = tmp_path / "given" / "senders"
    text = f"compatibility_level = 3.6\nsmtpd_sender_restrictions = check_sender_access hash:{table}\n"
    answers = told("postfix", tmp_path, {"main.cf": text, "senders": "shop.example OK\n"})
    assert any("No such file" in one.theirs for one in answers if one.outcome is DISAGREES)


EXIM = """primary_hostname = mx.shop.example
hostlist relay_from_hosts = HOSTS
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
BH = """printf '**** SMTP testing session as if from host 198.51.100.7\\n220 mx ESMTP\\r\\n250-mx Hello\\r\\n250 HELP\\r\\n'
printf '250 OK\\r\\n%s\\r\\n221 bye\\r\\n'"""


@pytest.mark.parametrize(
    ("hosts", "reply", "outcome"),
    [
        ("0.0.0.0/0", "250 Accepted", AGREES),
        ("0.0.0.0/0", "550 relay not permitted", DISAGREES),
        ("127.0.0.1", "550 relay not permitted", AGREES),
        ("127.0.0.1", "250 Accepted", DISAGREES),
    ],
)
def test_exim_says_what_it_would_to_the_stranger(tool, tmp_path, hosts, reply, outcome):
    tool("exim4", BH % reply)
    answers = told("exim", tmp_path, {"exim.conf": EXIM.replace("HOSTS", hosts)})
    assert {one.outcome for one in answers} == {outcome}
    assert all(one.theirs == reply for one in answers if outcome is DISAGREES)


def test_exim_that_hangs_up_has_refused(tool, tmp_path):
    tool("exim4", "printf '550 go away\\r\\n'")
    (answer,) = told("exim", tmp_path, {"exim.conf": EXIM.replace("HOSTS", "127.0.0.1")})
    assert answer.outcome is AGREES


def test_exim_that_says_nothing_is_silent(tool, tmp_path):
    tool("exim4", "echo 'exim: bad configuration' >&2; exit 1")
    (answer,) = told("exim", tmp_path, {"exim.conf": EXIM.replace("HOSTS", "127.0.0.1")})
    assert (answer.outcome, answer.theirs) == (SILENT, "exim: bad configuration")


def finding(claims=(), said="MAIL FROM:<a@b.example>; RCPT TO:<c@d.example>"):
    return AuditFinding(
        advisory="RW-1001",
        rule="sm-promiscuous",
        verdict=AuditVerdict.OPEN,
        file="sendmail.cf",
        line=1,
        witness=said,
        claims=claims,
    )


@pytest.mark.parametrize(
    ("reply", "outcome"), [("$# OK", AGREES), ('$# error $@ 5 . 7 . 1 $: "550 Relaying denied"', DISAGREES)]
)
def test_sendmail_is_asked_by_check_rcpt(tool, tmp_path, reply, outcome):
    tool("sendmail", f"cat > {tmp_path}/heard; echo 'check_rcpt         returns: {reply}'")
    claims = (Claim(ClaimKind.CLIENT_ADDRESS, "192.0.2.0/24"),)
    given = ServerReport(server="sendmail", verdict=AuditVerdict.OPEN, findings=(finding(claims),))
    (answer,) = told("sendmail", tmp_path, {"sendmail.cf": ""}, given=given)
    assert answer.outcome is outcome
    heard = (tmp_path / "heard").read_text()
    assert ".D{client_addr}192.0.2.1\n" in heard
    assert ".Dfa@b.example\ncheck_rcpt <c@d.example>\n" in heard


def test_an_mc_file_can_t_be_asked(tool, tmp_path):
    tool("sendmail", "exit 0")
    (answer,) = told("sendmail", tmp_path, {"sendmail.mc": ""})
    assert answer.outcome is SILENT


def test_nginx_that_reads_a_file_that_we_have_not_disagrees(tool, tmp_path):
    home = tmp_path / "given"
    tool(
        "nginx", f"printf '# configuration file {home}/nginx.conf:\\n# configuration file /etc/more.conf:\\n'"
    )
    answers = told("nginx", tmp_path, {"nginx.conf": "events {}\nhttp {}\n"})
    assert [(one.outcome, one.theirs) for one in answers] == [
        (AGREES, ""),
        (DISAGREES, "reads /etc/more.conf"),
    ]


def test_apache_and_squid_tell_their_files_too(tool, tmp_path):
    home = tmp_path / "given"
    tool("apachectl", f"printf 'Included configuration files:\\n  (*) {home}/apache2.conf\\n'")
    assert outcomes(told("apache", tmp_path, {"apache2.conf": "Listen 80\n"})) == [
        (AGREES, "syntax"),
        (AGREES, "files"),
    ]
    tool("squid", f"echo '2026| Processing Configuration File: {home}/squid.conf (depth 0)' >&2")
    assert outcomes(told("squid", tmp_path, {"squid.conf": "http_port 3128\n"}))[1] == (AGREES, "files")


def test_a_parser_that_refuses_what_we_take_disagrees(tool, tmp_path):
    tool("haproxy", "echo '[ALERT] unknown keyword' >&2; exit 1")
    (answer,) = told("haproxy", tmp_path, {"haproxy.cfg": "frontend a\n  bind :80\n"})
    assert (answer.outcome, answer.theirs, answer.ours) == (DISAGREES, "[ALERT] unknown keyword", "it starts")


def test_a_parser_that_takes_what_we_say_is_down_disagrees(tool, tmp_path):
    tool("haproxy", "exit 0")
    down = AuditFinding(
        advisory="", rule="x", verdict=AuditVerdict.DOWN, file="haproxy.cfg", line=2, witness=""
    )
    given = ServerReport(server="haproxy", verdict=AuditVerdict.DOWN, findings=(down,))
    (answer,) = told("haproxy", tmp_path, {"haproxy.cfg": "frontend a\n"}, given=given)
    assert (answer.outcome, answer.position.line) == (DISAGREES, 2)
    assert disagreements(ServerReport(server="haproxy", verdict=AuditVerdict.DOWN, oracles=(answer,)))


def test_a_tool_that_is_not_there_or_takes_too_long_is_silent(tool, tmp_path, monkeypatch):
    (answer,) = told("haproxy", tmp_path, {"haproxy.cfg": "frontend a\n"})
    assert (answer.outcome, answer.theirs) == (SILENT, "not installed")
    monkeypatch.setattr(asking, "SECONDS", 0.2)
    tool("haproxy", "exec sleep 5")
    (answer,) = told("haproxy", tmp_path, {"haproxy.cfg": "frontend a\n"})
    assert "nothing within" in answer.theirs
    tool("haproxy", "exit 127")
    (answer,) = told("haproxy", tmp_path, {"haproxy.cfg": "frontend a\n"})
    assert answer.theirs == "it can't be run"


def test_only_what_lies_in_a_folder_is_asked_about():
    server = load_servers()["haproxy"]
    setup = Setup(
        tree=TextTree({"/haproxy.cfg": ""}), main=PurePosixPath("/haproxy.cfg"), home=PurePosixPath("/")
    )
    (answer,) = asked(server, setup, report(server, setup)).oracles
    assert answer.outcome is SILENT


def test_oracles_are_asked_of_servers_that_we_know():
    assert set(ORACLES) & set(load_servers())


def test_the_command_tells_disagreements_and_counts_them(tool, tmp_path):
    tool("squid", "echo 'FATAL: bungled' >&2; exit 1")
    (tmp_path / "squid.conf").write_text("http_port 3128\nhttp_access deny all\n")
    done = CliRunner().invoke(relaywatch, ["audit", str(tmp_path / "squid.conf"), "--oracle"])
    assert "DISAGREES" in done.output
    assert "FATAL: bungled" in done.output
    done = CliRunner().invoke(
        relaywatch, ["audit", str(tmp_path / "squid.conf"), "--oracle", "--format", "json"]
    )
    line = json.loads(done.output.splitlines()[0])
    assert line["oracles"][0]["outcome"] == "disagrees"
