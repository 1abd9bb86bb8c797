"""qmail: rcpthosts, RELAYCLIENT by tcprules and scripts, percenthack, and mending."""

from __future__ import annotations

import pytest
from tests.audit.auditing import audited, mending, seen

from relaywatch.audit.findings import AuditVerdict, GapKind
from relaywatch.audit.servers.qmail import SERVER

CONTROL = "/var/qmail/control"
LOCAL = '127.:allow,RELAYCLIENT=""\n:allow\n'


def qmail(rules: str | None = LOCAL, **control: str):
    named = {
        f"{CONTROL}/{name}": text
        for name, text in {"rcpthosts": "hosted.example\n", **control}.items()
        if text
    }
    return {
        f"{CONTROL}/me": "mail.example.org\n",
        **named,
        **({"/etc/tcp.smtp": rules} if rules is not None else {}),
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (qmail(), []),
        (qmail(rcpthosts=""), [("open", "qm-no-rcpthosts", 0)]),
        (qmail(rcpthosts="hosted.example\n.com\n"), [("open-if", "qm-rcpthosts-wide", 2)]),
        (qmail(rcpthosts=".hosted.example\n"), []),
        (qmail(percenthack="hosted.example\n"), [("open-if", "qm-percenthack", 1)]),
        (qmail(percenthack="other.example\n"), []),
        (qmail(':allow,RELAYCLIENT=""\n'), [("open", "qm-relayclient", 1)]),
        (qmail('# all\n203.:allow,RELAYCLIENT=""\n:deny\n'), [("open-if", "qm-relayclient", 2)]),
        (qmail(':allow,RELAYCLIENT=""\n:allow\n'), [("unknown", "qm-relayclient", 1)]),
        (qmail('192.0.2.1-9:allow,RELAYCLIENT=""\n:allow\n'), []),
        (qmail('2001::allow,RELAYCLIENT=""\n:allow\n'), [("open-if", "qm-relayclient", 1)]),
        (qmail('203.:deny\n:allow,RELAYCLIENT=""\n203.0.113.:deny,RELAYCLIENT=""\n'), [("open", "qm-relayclient", 2)]),
        (qmail('=.example.org:allow,RELAYCLIENT=""\n:allow\n'), [("unknown", "not-evaluated", 0)]),
        (qmail('1.2.3.4.5:allow,RELAYCLIENT=""\n:allow\n'), [("unknown", "not-evaluated", 0)]),
    ],
)  # fmt: skip
def test_rows(files, expected):
    told = audited(SERVER, files)
    assert seen(told) == expected
    assert told.verdict.value == (expected[0][0] if expected else "closed")


def test_scripts_and_what_is_missing():
    files = qmail(None) | {"/service/qmail-smtpd/run": f'#!/bin/sh\nexport RELAYCLIENT=""\n{EXEC}\n'}
    assert seen(audited(SERVER, files)) == [("open", "qm-relayclient", 2)]
    assert mending(SERVER, files).report.verdict is AuditVerdict.CLOSED
    told = audited(SERVER, qmail(None))
    assert (told.verdict, told.gaps[0].kind) == (AuditVerdict.UNKNOWN, GapKind.MISSING)
    told = audited(SERVER, qmail(None) | {"/etc/tcp.smtp.cdb": "\x00"})
    assert told.gaps[0].kind is GapKind.BINARY
    told = audited(SERVER, qmail() | {f"{CONTROL}/morercpthosts.cdb": "x"})
    assert told.verdict is AuditVerdict.UNKNOWN


EXEC = "exec tcpserver 0 smtp /var/qmail/bin/qmail-smtpd"
RUN = "/var/qmail/supervise/qmail-smtpd/run"


@pytest.mark.parametrize(
    ("script", "others", "expected"),
    [
        ("exec tcpserver -v -x /etc/own.cdb 0 smtp qmail-smtpd", {"/etc/own": ':allow,RELAYCLIENT=""\n'}, [("open", "qm-relayclient", 1)]),
        ("exec tcpserver -vRHx'/etc/own.cdb' 0 smtp qmail-smtpd", {"/etc/own": LOCAL}, []),
        ("exec tcpserver -x /etc/own.cdb 0 smtp qmail-smtpd", {}, [("unknown", "not-evaluated", 0)]),
        ("exec tcpserver -x $RULES 0 smtp qmail-smtpd", {}, [("unknown", "not-evaluated", 0)]),
        (EXEC, {}, []),
        (f"# RELAYCLIENT= \n{EXEC}", {}, []),
        ("exec env RELAYCLIENT='' tcpserver 0 smtp qmail-smtpd", {}, [("open", "qm-relayclient", 1)]),
        ("exec envdir ./env tcpserver 0 smtp qmail-smtpd", {"/var/qmail/supervise/qmail-smtpd/env/RELAYCLIENT": "\n"}, [("open", "qm-relayclient", 1)]),
        ("exec envdir ./env tcpserver 0 smtp qmail-smtpd", {"/var/qmail/supervise/qmail-smtpd/env/RELAYCLIENT": ""}, []),
        ("exec envdir $ENV tcpserver 0 smtp qmail-smtpd", {}, [("unknown", "not-evaluated", 0)]),
        ("exec tcpserver 0 pop3 qmail-popup", {}, [("unknown", "not-evaluated", 0)]),
    ],
)  # fmt: skip
def test_what_starts_it_names_the_table(script, others, expected):
    told = audited(SERVER, qmail(None) | {RUN: f"{script}\n"} | others)
    assert seen(told) == expected


def test_a_table_that_nobody_names_isnt_looked_at():
    rules = {RUN: "exec tcpserver -x /etc/own.cdb 0 smtp qmail-smtpd\n", "/etc/own": LOCAL}
    assert audited(SERVER, qmail(':allow,RELAYCLIENT=""\n') | rules).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('RELAYCLIENT=""; export RELAYCLIENT', '# RELAYCLIENT=""; export RELAYCLIENT'),
        ('exec env RELAYCLIENT="" tcpserver qmail-smtpd', "exec env tcpserver qmail-smtpd"),
    ],
)
def test_mending_a_script(before, after):
    outcome = mending(SERVER, qmail(None) | {RUN: f"{before}\n{EXEC}\n"})
    assert outcome.report.verdict is AuditVerdict.CLOSED
    assert [source.lines[0] for source in outcome.after.values()] == [after]
    folder = {RUN: f"envdir ./env {EXEC}\n", f"{RUN[:-3]}env/RELAYCLIENT": "@x\n"}
    assert mending(SERVER, qmail(None) | folder).report.verdict is AuditVerdict.CLOSED


def test_mending():
    outcome = mending(
        SERVER,
        qmail('203.:allow,RELAYCLIENT=""\n:allow\n', percenthack="hosted.example\n"),
        allowed=["203.0.113.0/24"],
    )
    assert outcome.report.verdict is AuditVerdict.CLOSED
    texts = {path.name: source.text for path, source in outcome.after.items()}
    assert texts == {"tcp.smtp": '203.0.113.:allow,RELAYCLIENT=""\n203.:allow\n:allow\n', "percenthack": ""}
    assert mending(SERVER, qmail(rcpthosts="")).after == {}


def test_the_owners_networks_of_any_length_are_kept():
    allowed = ["10.1.4.0/23", "192.0.2.7/32"]
    outcome = mending(SERVER, qmail(':allow,RELAYCLIENT=""\n'), allowed=allowed)
    assert [source.text for source in outcome.after.values()] == [
        '10.1.4.:allow,RELAYCLIENT=""\n10.1.5.:allow,RELAYCLIENT=""\n192.0.2.7:allow,RELAYCLIENT=""\n:allow\n'
    ]
