"""Courier: smtpaccess, the domains that mail is accepted for, and mending."""

from __future__ import annotations

import pytest
from tests.audit.auditing import audited, mending, seen

from relaywatch.audit.findings import AuditVerdict, GapKind
from relaywatch.audit.servers.courier import SERVER

HOME = "/etc/courier"


def courier(access: str, domains: str = "hosted.example\n", **more: str):
    named = {f"{HOME}/smtpaccess/{name}": text for name, text in more.items()}
    return {f"{HOME}/smtpaccess/default": access, f"{HOME}/esmtpacceptmailfor": domains, **named}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            courier(
                "127.0.0.1\tallow,RELAYCLIENT\n:0000:0000:0000:0000:0000:0000:0000:0001\tallow,RELAYCLIENT\n"
            ),
            [],
        ),
        (courier("10\tallow,RELAYCLIENT\n192.168\tallow,RELAYCLIENT\n"), []),
        (courier("# all\n203\tallow,RELAYCLIENT\n"), [("open-if", "co-net-all", 2)]),
        (courier("203\tallow,BLOCK\n203.0\tdeny\n"), []),
        (courier("*\tallow,RELAYCLIENT\n"), [("open", "co-net-all", 1)]),
        (courier(":2001\tallow,RELAYCLIENT\n"), [("open-if", "co-net-all", 1)]),
        (courier("", "hosted.example\n.com\n"), [("open-if", "co-dom-wide", 2)]),
        (courier("", ".hosted.example\n"), []),
        (courier("", mine="203\tallow,RELAYCLIENT\n"), [("open-if", "co-net-all", 1)]),
        (courier("0.0.0.0/0\tallow,RELAYCLIENT\n"), [("open", "co-net-all", 1)]),
        (courier("192.0.2.0/25 allow,RELAYCLIENT\n"), []),
        (courier("203 allow,RELAYCLIENT\n"), [("open-if", "co-net-all", 1)]),
        (courier("") | {f"{HOME}/hosteddomains/mine": "a.example\n.org\n"}, [("open-if", "co-dom-wide", 2)]),
        (courier("") | {f"{HOME}/esmtpacceptmailfor.dir/mine": ".co.kr\n"}, [("open-if", "co-dom-wide", 1)]),
        (courier("") | {f"{HOME}/esmtpd": "ACCESSFILE=${sysconfdir}/smtpaccess\n"}, []),
        (
            courier("")
            | {
                f"{HOME}/esmtpd-msa": "ACCESSFILE=/etc/courier/msa\n",
                f"{HOME}/msa/all": "*\tallow,RELAYCLIENT\n",
            },
            [("open", "co-net-all", 1)],
        ),
        (courier("") | {f"{HOME}/esmtpd": "ACCESSFILE=/gone\n"}, [("unknown", "not-evaluated", 0)]),
        (courier("") | {f"{HOME}/esmtpd": "ACCESSFILE=$X\n"}, [("unknown", "not-evaluated", 0)]),
    ],
)
def test_rows(files, expected):
    assert seen(audited(SERVER, files)) == expected


def test_a_line_that_is_no_address_is_a_gap():
    told = audited(SERVER, courier("somewhere\tallow,RELAYCLIENT\n"))
    assert (told.verdict, told.gaps[0].kind) == (AuditVerdict.UNKNOWN, GapKind.SYNTAX)


def test_mending():
    outcome = mending(
        SERVER, courier("203\tallow,RELAYCLIENT\n", ".com\nhosted.example\n"), allowed=["203.0.113.0/24"]
    )
    assert outcome.report.verdict is AuditVerdict.CLOSED
    assert sorted(source.text for source in outcome.after.values()) == [
        "203.0.113\tallow,RELAYCLIENT\n",
        "hosted.example\n",
    ]


def test_the_owners_networks_of_any_length_and_family_are_kept():
    allowed = ["10.1.4.0/23", "192.0.2.7/32", "2001:db8:1::/47"]
    outcome = mending(SERVER, courier("*\tallow,RELAYCLIENT\n"), allowed=allowed)
    assert outcome.report.verdict is AuditVerdict.CLOSED
    kept = ("10.1.4", "10.1.5", "192.0.2.7", ":2001:0db8:0000", ":2001:0db8:0001")
    assert [source.text for source in outcome.after.values()] == [
        "".join(f"{prefix}\tallow,RELAYCLIENT\n" for prefix in kept)
    ]
