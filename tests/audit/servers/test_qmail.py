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
    files = qmail(None) | {"/service/qmail-smtpd/run": '#!/bin/sh\nexport RELAYCLIENT=""\nexec tcpserver\n'}
    assert seen(audited(SERVER, files)) == [("open", "qm-relayclient", 2)]
    assert mending(SERVER, files).report.verdict is AuditVerdict.CLOSED
    told = audited(SERVER, qmail(None))
    assert (told.verdict, told.gaps[0].kind) == (AuditVerdict.UNKNOWN, GapKind.MISSING)
    told = audited(SERVER, qmail(None) | {"/etc/tcp.smtp.cdb": "\x00"})
    assert told.gaps[0].kind is GapKind.BINARY
    told = audited(SERVER, qmail() | {f"{CONTROL}/morercpthosts.cdb": "x"})
    assert told.verdict is AuditVerdict.UNKNOWN


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
