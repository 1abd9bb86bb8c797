"""Signs of mail software, against what the software says: a line each, and where the line is from."""

import re

import pytest

from relaywatch.probes.smtp_relay.forms import FORWARD_PATHS, REVERSE_PATHS
from relaywatch.script.software import Software, Where, all_signs, all_software, find_software, recognise

DEBIAN = "the package of Debian 12, its configuration as installed"
PROGRAM = "the text in the program of Debian 12's package"
SOURCE = "the sources of the software"
VENDOR = "the vendor's documentation and dialogues in public mailing lists"
TALK = "the dialogue in the talk of 2002"

PLACES = frozenset({Where.GREETING, Where.EHLO, Where.HELP, Where.REPLY})
SIGNS = [sign for sign in all_signs() if sign.where in PLACES]
"""Those of proxies are in test_proxy_software.py."""

# software, version, where, what it says (lines joined as in a reply's text), where that is from
EXAMPLES = (
    ("interscan-viruswall", "3.6-Build_1166", "greeting",
     ("InterScan Version 3.6-Build_1166 $Date: 04/24/2001 22:13:0052$: Ready "
     "cert.certcc.or.kr ESMTP Sendmail 8.8.8+Sun/8.8.8; Fri, 7 Jun 2002 11:02:03 +0900 (KST)"), TALK),
    ("interscan-viruswall", "3.2", "greeting", "mail.example.test InterScan VirusWall 3.2 ready", VENDOR),
    ("zimbra", None, "greeting", "mail.example.test ESMTP Zimbra", VENDOR),
    ("zimbra", None, "greeting", "mail.example.test ESMTP of zimbra, hello", VENDOR),
    ("postfix", None, "greeting", "mail.example.test ESMTP Postfix (Debian/GNU)", DEBIAN),
    ("postfix", "3.7.11", "greeting", "mail.example.test ESMTP Postfix (3.7.11)", PROGRAM),
    ("postfix", None, "greeting", "mail.example.test ESMTP Postfix", PROGRAM),
    ("postfix", None, "greeting", "mail.example.test ESMTP Postfix (Ubuntu)", VENDOR),
    ("exim", "4.96", "greeting", "mail.example.test ESMTP Exim 4.96 Tue, 24 Nov 2026 02:10:00 +0000", PROGRAM),
    ("sendmail", "8.17.1.9", "greeting",
     ("mail.example.test ESMTP Sendmail 8.17.1.9/8.17.1.9/Debian-2+deb12u2; Tue, 24 Nov 2026 02:10:00 GMT; "
     "(No UCE/UBE) logging access from: [203.0.113.9](FAIL)-[203.0.113.9]"), DEBIAN),
    ("sendmail", "8.11.0", "greeting",
     "certlinux.certcc.or.kr ESMTP Sendmail 8.11.0/8.11.0; Sun, 18 Feb 2001 23:54:18 +0900", TALK),
    ("opensmtpd", None, "greeting", "mail.example.test ESMTP OpenSMTPD", PROGRAM),
    ("courier", None, "greeting", "mail.example.test Courier ESMTP ready", VENDOR),
    ("haraka", "3.1.1", "greeting", "mail.example.test ESMTP Haraka/3.1.1 ready", SOURCE),
    ("haraka", None, "greeting", "mail.example.test ESMTP Haraka ready", SOURCE),
    ("chasquid", None, "greeting", "mail.example.test ESMTP chasquid", PROGRAM),
    ("iis-smtp", "6.0.3790.4675", "greeting",
     "mail.example.test Microsoft ESMTP MAIL Service, Version: 6.0.3790.4675 ready at  Tue, 24 Nov 2026", VENDOR),
    ("exchange", None, "greeting",
     "MX01.example.test Microsoft ESMTP MAIL Service ready at Tue, 24 Nov 2026 02:10:00 +0000", VENDOR),
    ("exchange-5.5", "5.5.2653.13", "greeting",
     "mail.example.test ESMTP Server (Microsoft Exchange Internet Mail Service 5.5.2653.13) ready", VENDOR),
    ("domino", None, "greeting", "mail.example.test ESMTP Service (Lotus Domino Release 8.5.3) ready", VENDOR),
    ("domino", None, "greeting", "mail.example.test ESMTP Service (HCL Domino Release 12.0) ready", VENDOR),
    ("domino", None, "greeting", "mail.example.test Lotus SMTP MTA Service Ready", VENDOR),
    ("emwac-ims", "0.83", "greeting", "mail.example.test - IMS SMTP Receiver Version 0.83 Ready", VENDOR),
    ("ntmail", "3.03.0018", "greeting", "mail.example.test NTMail (v3.03.0018/NT0000.00.x) ready", VENDOR),
    ("stalwart", None, "greeting", "mail.example.test Stalwart ESMTP at your service", VENDOR),
    ("hmailserver", None, "greeting", "mail.example.test ESMTP hMailServer", VENDOR),
    ("mailenable", "10.44--10.44", "greeting",
     "example.test ESMTP MailEnable Service, Version: 10.44--10.44 ready at 11/24/26 02:10:00", VENDOR),
    ("mailenable", None, "greeting", "example.test ESMTP MailEnable", VENDOR),
    ("kumomta", None, "greeting", "mail.example.test KumoMTA", VENDOR),
    ("mdaemon", "21.5.2", "greeting", "mail.example.test ESMTP MDaemon 21.5.2; Tue, 24 Nov 2026", VENDOR),
    ("kerio", "9.4.2", "greeting", "mail.example.test Kerio Connect 9.4.2 ESMTP ready", VENDOR),
    ("communigate", "6.2.15", "greeting", "mail.example.test ESMTP CommuniGate Pro 6.2.15", VENDOR),
    ("axigen", None, "greeting", "mail.example.test Axigen ESMTP ready", VENDOR),
    ("aiosmtpd", "1.4.6", "greeting", "mail.example.test Python SMTP 1.4.6", SOURCE),
    ("exchange", None, "ehlo",
     "MX01.example.test Hello [203.0.113.9] SIZE 37748736 PIPELINING X-ANONYMOUSTLS AUTH NTLM X-EXPS GSSAPI", VENDOR),
    ("opensmtpd", None, "ehlo",
     "mail.example.test Hello probe.test [203.0.113.9], pleased to meet you 8BITMIME ENHANCEDSTATUSCODES", PROGRAM),
    ("sendmail", None, "ehlo",
     "mail.example.test Hello [203.0.113.9], pleased to meet you ENHANCEDSTATUSCODES PIPELINING EXPN", VENDOR),
    ("courier", None, "ehlo",
     "mail.example.test Ok. XVERP=Courier XEXDATA XSECURITY=NONE,STARTTLS PIPELINING 8BITMIME SIZE DSN", PROGRAM),
    ("haraka", None, "ehlo",
     "mail.example.test Hello [203.0.113.9], Haraka is at your service. PIPELINING 8BITMIME", SOURCE),
    ("sendmail", "8.17.1.9", "help", "2.0.0 This is sendmail version 8.17.1.9 2.0.0 Topics:", DEBIAN),
    ("exim", None, "help",
     "Commands supported: AUTH STARTTLS HELO EHLO MAIL RCPT DATA BDAT NOOP QUIT RSET HELP", PROGRAM),
    ("qmail", None, "help", "qmail home page: http://pobox.com/~djb/qmail.html", SOURCE),
    ("notqmail", None, "help", "notqmail home page: https://notqmail.org", SOURCE),
    ("opensmtpd", None, "help",
     "2.0.0 This is OpenSMTPD 2.0.0 To report bugs in the implementation, please contact bugs@openbsd.org", PROGRAM),
    ("courier", None, "help", "This is http://www.courier-mta.org", VENDOR),
    ("postfix", None, "reply", "454 4.7.1 <x@sink.test>: Relay access denied", PROGRAM),
    ("postfix", None, "reply", "554 5.7.1 <x@sink.test>: Relay access denied", PROGRAM),
    ("exim", None, "reply", "550 relay not permitted", DEBIAN),
    ("sendmail", None, "reply", "550 5.7.1 <x@sink.test>... Relaying denied", PROGRAM),
    ("sendmail", None, "reply",
     "550 5.7.1 <x@sink.test>... Relaying denied. Proper authentication required.", PROGRAM),
    ("opensmtpd", None, "reply", "550 Invalid recipient: <x@sink.test>", PROGRAM),
    ("qmail", None, "reply",
     "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", SOURCE),
    ("exchange", None, "reply", "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", VENDOR),
    ("iis-smtp", None, "reply", "550 5.7.1 Unable to relay for x@sink.test", VENDOR),
    ("haraka", None, "reply", "550 I cannot deliver mail for <x@sink.test>", SOURCE),
    ("courier", None, "reply", "513 Relaying denied.", PROGRAM),
    ("chasquid", None, "reply", "503 5.7.1 relay not allowed", PROGRAM),
)  # fmt: skip


@pytest.mark.parametrize(("software", "version", "where", "words", "source"), EXAMPLES)
def test_software_is_recognised_by_its_own_words(software, version, where, words, source):
    recognition = recognise(Where(where), words)

    assert recognition is not None
    assert (software, version) == (recognition.software.name, recognition.version)
    assert recognition.words in words
    assert Where(where) is recognition.where


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: f"{sign.software}-{sign.where}")
def test_every_sign_has_an_example_that_it_decides(sign):
    own = [words for name, _, where, words, _ in EXAMPLES if (name, where) == (sign.software, sign.where)]

    assert any(sign.pattern.search(words) for words in own)


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: f"{sign.software}-{sign.where}")
def test_no_sign_fits_anothers_words(sign):
    """But for the gateway's greeting, behind which the server's own comes through."""
    others = [
        words
        for name, _, where, words, _ in EXAMPLES
        if where == sign.where and name != sign.software and not words.startswith("InterScan Version")
    ]

    assert [] == [words for words in others if sign.pattern.search(words)]


@pytest.mark.parametrize(
    "words",
    [
        "mail.example.test ESMTP",
        "mail.example.test ESMTP ready",
        "mx.google.com ESMTP 4-20020a170902 - gsmtp",
        "ready",
        "",
        "exim.example.test ESMTP",
        "sendmail.example.test ESMTP service",
        "mail.example.test SMTP server, please don't relay",
    ],
)
def test_greetings_that_name_nobody(words):
    assert recognise(Where.GREETING, words) is None


@pytest.mark.parametrize(
    "words", ["550 relaying denied", "550 5.7.1 Relaying denied", "554 No", "550 no relay"]
)
def test_refusals_that_name_nobody(words):
    assert recognise(Where.REPLY, words) is None


def test_words_count_in_their_place_only():
    assert recognise(Where.HELP, "mail.example.test ESMTP Postfix") is None
    assert recognise(Where.EHLO, "relay not permitted") is None


def test_the_catalogue_is_whole():
    forwards = {forward.name for forward in FORWARD_PATHS}
    reverses = {reverse.name for reverse in REVERSE_PATHS}

    assert all_software()
    for software in all_software().values():
        assert set(software.forms) <= forwards, software.name
        assert all(forward in forwards and reverse in reverses for forward, reverse in software.crossings)
        assert software.refusals is None or 1 <= software.refusals <= 8, software.name


def test_every_sign_names_its_evidence_and_a_software_of_the_glossary():
    names = {
        "postfix", "sendmail", "exim", "opensmtpd", "qmail", "notqmail", "courier", "exchange", "iis-smtp",
        "haraka", "stalwart", "hmailserver", "mailenable", "zimbra", "mailcow", "docker-mailserver", "chasquid",
        "kumomta", "domino", "emwac-ims", "ntmail", "ims", "interscan-viruswall", "exchange-5.5", "mdaemon",
        "kerio", "communigate", "axigen", "aiosmtpd",
    }  # fmt: skip

    assert {sign.software for sign in SIGNS} <= names
    assert all(sign.evidence for sign in SIGNS)


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: f"{sign.software}-{sign.where}")
def test_a_sign_reads_a_long_line_in_time(sign):
    """The words are a stranger's: nothing may make a pattern run away."""
    for hostile in (
        "Hello " * 700,
        "ESMTP " * 700,
        "NTMail (" * 500,
        ", pleased to meet you" * 200,
        "5." * 2000,
    ):
        sign.pattern.search(hostile)


def test_finding_by_name():
    assert 8 == find_software("postfix").refusals
    assert Software("never-heard-of") == find_software("never-heard-of")
    assert find_software(None) is None
    assert find_software("") is None


def test_whoever_has_a_sign_has_a_row():
    assert set() == {sign.software for sign in all_signs()} - set(all_software())


def test_a_fork_bears_and_falls_for_what_its_parent_does():
    qmail, notqmail = find_software("qmail"), find_software("notqmail")

    assert (qmail.refusals, qmail.forms) == (notqmail.refusals, notqmail.forms)


def test_a_version_is_no_sentence():
    versions = [version for _, version, _, _, _ in EXAMPLES if version]

    assert all(re.fullmatch(r"[\w.+\-]{1,20}", version) for version in versions)
