"""OpenSMTPD: matches in order, tables, listeners, and mending."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.audit.auditing import audited, mending, seen

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.findings import AuditVerdict, GapKind
from relaywatch.audit.servers.opensmtpd import SERVER
from relaywatch.audit.setup import FrontEnd

HEAD = """table aliases file:/etc/aliases
table own { "192.0.2.0/24", 2001:db8:1::/48 }
table wide { 203.0.0.0/8, \\
  10.0.0.0/8 }
table mapped { "@hosted.example" = "x" }
listen on 0.0.0.0
action "mailbox" mbox alias <aliases>
action "relay" relay
"""
LINE = 9


def conf(*lines: str, **others: str):
    named = {f"/etc/{name}": text for name, text in others.items()}
    return {"/etc/smtpd.conf": HEAD + "\n".join(lines) + "\n", "/etc/aliases": "root: nobody\n", **named}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('match for any action "relay"', []),
        ('match from local for any action "relay"', []),
        ('match from auth for any action "relay"', []),
        ('match from auth <own> for any action "relay"', []),
        ('match auth from any for any action "relay"', []),
        ('match from socket for any action "relay"', []),
        ('match from any for local action "mailbox"', []),
        ('match from any action "relay"', []),
        ('match from any for any action "mailbox"', []),
        ('match from any for domain "hosted.example" action "relay"', []),
        ("match from any for any reject", []),
        ('match from any for any action "relay"', [("open", "os-any")]),
        ('match !from local for any action "relay"', [("open", "os-any")]),
        ('match !from auth for any action "relay"', [("open", "os-any")]),
        ('match from any for any !auth action "relay"', [("open", "os-any")]),
        ('match from src 0.0.0.0/0 for any action "relay"', [("open", "os-src")]),
        ('match from src { 0.0.0.0/0, ::/0 } for any action "relay"', [("open", "os-src")]),
        ('match from src <wide> for any action "relay"', [("open-if", "os-src")]),
        ('match from src <own> for any action "relay"', []),
        ('match !from src <own> for any action "relay"', [("open", "os-any")]),
        ('match from src regex "^203" for any action "relay"', [("unknown", "os-src")]),
        ('match from rdns "gw.partner.test" for any action "relay"', [("open-if", "os-rdns")]),
        ('match from mail-from "boss@hosted.example" for any action "relay"', [("open-if", "os-mail-from")]),
        ('match from any mail-from "@hosted.example" for any action "relay"', [("open-if", "os-mail-from")]),
        ('match from any mail-from <mapped> for any action "relay"', [("open-if", "os-mail-from")]),
        ('match from any mail-from "@*" for any action "relay"', [("open", "os-mail-from")]),
        ('match from any !mail-from "@hosted.example" for any action "relay"', [("open", "os-any")]),
        ('match from any mail-from regex "@hosted.example$" for any action "relay"', [("open-if", "os-mail-from")]),
        ('match from any helo "mail.hosted.example" for any action "relay"', [("open-if", "os-helo")]),
        ('match from any !for domain "hosted.example" action "relay"', [("open", "os-not-domain")]),
        ('match from any for domain regex "example[.]org" action "relay"', [("open-if", "os-domain")]),
        ('match from any for domain regex "example$" action "relay"', [("open-if", "os-domain")]),
        ('match from any for domain regex "." action "relay"', [("open", "os-domain")]),
        ('match from any for domain regex "^([a-z0-9-]+[.])*example[.]org$" action "relay"', []),
        ('match from any for domain regex "((" action "relay"', [("unknown", "os-domain")]),
        ('match from any for domain "*" action "relay"', [("open", "os-domain")]),
        ('match from any for domain "*.org" action "relay"', [("open-if", "os-domain")]),
        ('match from any for domain "*.hosted.example" action "relay"', []),
        ('match from any for rcpt-to "@*" action "relay"', [("open", "os-domain")]),
        ('match from any for any rcpt-to "someone" action "relay"', [("open", "os-any")]),
        ('match from any for any rcpt-to "you@hosted.example" action "relay"', []),
        ('match from any tls for any action "relay"', []),
        ('match from any !tls for any action "relay"', [("open", "os-any")]),
        ('match from any tag inside for any action "relay"', []),
        ('match from any for domain <gone> action "relay"', [("down", "os-syntax")]),
        ('match from src <gone> for any action "relay"', [("down", "os-syntax")]),
        ('match from any helo <gone> for any action "relay"', [("down", "os-syntax")]),
        ('match from where for any action "relay"', [("down", "os-syntax")]),
        ('match from any for somebody action "relay"', [("down", "os-syntax")]),
        ('who = any\nmatch from $who \\\n for any action "relay"', [("open", "os-any")]),
        ('rest = "from any for any"\nmatch $rest action "relay"', [("open", "os-any")]),
        ('nets = "{ 10.0.0.0/8, 0.0.0.0/0 }"\nmatch from src $nets for any action "relay"', [("open", "os-src")]),
        ('a = "from $b"\nb = any\nmatch $a for any action "relay"', [("open", "os-any")]),
        ('a = "$a"\nmatch from $a for any action "relay"', [("down", "os-syntax")]),
        ('match from any for any action "later"\naction "later" relay', [("down", "os-syntax")]),
        ('action "relay" relay\nmatch from any for any action "relay"', [("down", "os-syntax")]),
        ('table file "/etc/aliases"\nmatch from any for any action "gone"', [("down", "os-syntax")]),
        ('match from any for any action "gone"', [("down", "os-syntax")]),
        ("match from any for any", [("down", "os-syntax")]),
        ('match from any what for any action "relay"', [("down", "os-syntax")]),
        ('action "x"', [("down", "os-syntax")]),
        ('match from any for any action "relay', [("down", "os-syntax")]),
    ],
)  # fmt: skip
def test_one_match(line, expected):
    told = audited(SERVER, conf(line))
    assert [(verdict, rule) for verdict, rule, _ in seen(told)] == expected


def test_the_first_match_decides_and_its_line_is_named():
    told = audited(SERVER, conf("match from any for any reject", 'match from any for any action "relay"'))
    assert told.verdict is AuditVerdict.CLOSED
    told = audited(
        SERVER, conf('match for any action "relay"', "# no", 'match from any for any action "relay"')
    )
    assert seen(told) == [("open", "os-any", LINE + 2)]
    told = audited(
        SERVER, conf("match from src 203.0.0.0/8 for any reject", 'match from any for any action "relay"')
    )
    assert seen(told)[0][0] == "open"


def test_listeners():
    listens = "listen on lo\nlisten on socket\nlisten on eth0 port submission tls-require auth\nlisten on eth0 smtps tag inside\n"
    files = conf('match from any tag inside tls for any action "relay"')
    files["/etc/smtpd.conf"] = listens + files["/etc/smtpd.conf"]
    told = audited(SERVER, files)
    assert [(one.name, one.verdict.value) for one in told.services] == [
        ("lo:25", "closed"),
        ("eth0:587", "closed"),
        ("eth0:465", "open"),
        ("0.0.0.0:25", "closed"),
    ]
    assert audited(SERVER, "listen on socket\n").verdict is AuditVerdict.CLOSED


def test_a_name_is_no_option():
    files = conf('match from any tag "auth" for any action "relay"')
    files["/etc/smtpd.conf"] = files["/etc/smtpd.conf"].replace("0.0.0.0\n", '0.0.0.0 tag "auth"\n')
    assert audited(SERVER, files).verdict is AuditVerdict.OPEN


def test_who_hides_and_who_lies():
    front = FrontEnd(addresses=AddressSet.of(["127.0.0.1"]), name="stunnel", reaches_loopback=True)
    told = audited(SERVER, conf('match for any action "relay"'), front_ends=[front])
    assert seen(told) == [("open-if", "os-front-end", LINE)]
    files = conf('match for any action "relay"')
    files["/etc/smtpd.conf"] = files["/etc/smtpd.conf"].replace("0.0.0.0\n", "0.0.0.0 proxy-v2\n")
    assert seen(audited(SERVER, files)) == [("open-if", "os-proxy", 6)]


def test_files_and_gaps():
    line = 'table senders file:/etc/senders\nmatch from any mail-from <senders> for any action "relay"'
    told = audited(SERVER, conf(line, senders="# ours\n@hosted.example\nboss@x.test y\n"))
    assert len(told.findings[0].claims) == 1
    assert audited(SERVER, conf(line)).verdict is AuditVerdict.UNKNOWN
    binary = audited(SERVER, conf(line.replace("file:", "db:")))
    assert (binary.verdict, binary.gaps[0].kind) == (AuditVerdict.UNKNOWN, GapKind.BINARY)
    short = audited(SERVER, conf(line.replace("file:", ""), senders="@hosted.example\n"))
    assert short.verdict is AuditVerdict.OPEN_IF
    told = audited(
        SERVER,
        conf('include "/etc/more"', more='match from any for any action "relay"\ninclude "/etc/more"\n'),
    )
    assert told.findings[0].file == "/etc/more"
    assert GapKind.LOOP in {gap.kind for gap in told.gaps}
    told = audited(SERVER, conf("accept from any for any relay"))
    assert (told.verdict, told.gaps[0].kind) == (AuditVerdict.UNKNOWN, GapKind.SYNTAX)
    assert audited(SERVER, conf("whatever this is")).verdict is AuditVerdict.UNKNOWN
    assert audited(SERVER, conf("table broken { a,\n b }")).verdict is AuditVerdict.UNKNOWN


@pytest.mark.parametrize(
    "line",
    [
        'match from any for any action "relay"',
        'match from any mail-from "@hosted.example" \\\n  for any action "relay"',
        'match from src 0.0.0.0/0 for any action "relay"',
        'match from any !for domain "hosted.example" action "relay"',
    ],
)
def test_mending(line):
    outcome = mending(SERVER, conf(line), allowed=["198.51.100.0/24"])
    assert outcome.report.verdict is AuditVerdict.CLOSED
    (source,) = outcome.after.values()
    assert 'match from auth for any action "relay"\n' in source.text
    assert 'match from src { 198.51.100.0/24 } for any action "relay"\n' in source.text


@pytest.mark.parametrize("own", ['match for any action "relay"', 'match from local for any action "relay"'])
@pytest.mark.parametrize("is_said", [True, False])
def test_the_machines_own_mail_goes_on(own, is_said):
    outcome = mending(SERVER, conf('match from any for any action "relay"' + f"\n{own}" * is_said))
    (source,) = outcome.after.values()
    said = {own} if is_said else {'match from local for any action "relay"'}
    lines = {'match from auth for any action "relay"', *said}
    assert {line for line in source.text.splitlines() if "for any" in line} == lines


def test_what_no_program_mends():
    assert mending(SERVER, conf('match from src { 0.0.0.0/0, ::/0 } for any action "relay"')).after == {}
    front = conf('match from any for any action "gone"')
    assert mending(SERVER, front).after == {}


@given(
    st.lists(
        st.sampled_from(
            [
                "match",
                "from",
                "any",
                "for",
                "!",
                "src",
                "<own>",
                "{",
                "}",
                "action",
                '"relay"',
                "domain",
                "regex",
                "x",
                "\n",
                "mail-from",
                "reject",
            ]
        ),
        max_size=25,
    )
)
def test_never_a_fault_and_a_refusal_first_closes(words):
    text = " ".join(words)
    audited(SERVER, conf(text))
    refusing = audited(SERVER, conf("match from any for any reject", text))
    assert refusing.verdict not in {AuditVerdict.OPEN, AuditVerdict.OPEN_IF}
