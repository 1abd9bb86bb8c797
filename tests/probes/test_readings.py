"""What a reply means, with the words of real servers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.model.evidence import Fact
from relaywatch.model.smtp import Reply
from relaywatch.probes.smtp_relay.readings import (
    in_same_words,
    is_another_protocol,
    is_ftp,
    is_full,
    is_greylisting,
    read_refusal,
    read_waiting_time,
    speaks_of_login,
    speaks_of_relaying,
)
from relaywatch.wire.smtp import join_reply, parse_reply_line


def reply(text: str) -> Reply:
    return join_reply(parse_reply_line(line.encode()) for line in text.split("\n"))


REFUSALS = [
    ("550 relay not permitted", Fact.REFUSED),
    ("554 5.7.1 <x@sink.test>: Relay access denied", Fact.REFUSED),
    ("454 4.7.1 <x@sink.test>: Relay access denied", Fact.REFUSED),
    ("454 4.7.0 TLS not available", Fact.DEFERRED),
    ("454 Relay access denied", Fact.DEFERRED),
    ("450 4.2.0 Greylisted", Fact.DEFERRED),
    ("451 Temporary local problem", Fact.DEFERRED),
    ("452 4.3.1 Insufficient system storage", Fact.DEFERRED),
    ("452 too many recipients", Fact.DEFERRED),
    ("421 4.7.0 Too many errors", Fact.RATE_LIMITED),
    ("421 closing", Fact.RATE_LIMITED),
    ("530 5.7.0 Must issue a STARTTLS command first", Fact.TLS_REQUIRED),
    ("530 Must issue STARTTLS first", Fact.TLS_REQUIRED),
    ("550 5.7.0 Encryption required", Fact.TLS_REQUIRED),
    ("523 5.7.10 Encryption needed", Fact.TLS_REQUIRED),
    ("538 5.7.11 Encryption required for requested authentication mechanism", Fact.TLS_REQUIRED),
    ("530 5.7.0 Authentication required", Fact.AUTH_REQUIRED),
    ("530 5.7.1 Client was not authenticated", Fact.AUTH_REQUIRED),
    ("530 denied", Fact.AUTH_REQUIRED),
    ("550 5.7.0 Please log in first", Fact.AUTH_REQUIRED),
    ("550 5.7.0 Local policy", Fact.REFUSED),
    ("523 5.7.10 no", Fact.REFUSED),
    ("503 5.5.1 need MAIL command", Fact.REFUSED),
    ("500 what?", Fact.REFUSED),
]


@pytest.mark.parametrize(("text", "fact"), REFUSALS)
def test_refusals(text, fact):
    assert fact is read_refusal(reply(text))


@given(code=st.integers(400, 599), text=st.text(st.characters(blacklist_categories=["Cs"]), max_size=60))
def test_no_refusal_is_a_yes_and_a_transient_is_for_good_only_where_we_know_it(code, text):
    refusal = Reply(code, (text,))
    fact = read_refusal(refusal)

    assert fact in {Fact.REFUSED, Fact.DEFERRED, Fact.RATE_LIMITED, Fact.TLS_REQUIRED, Fact.AUTH_REQUIRED}
    assert not (refusal.is_transient and fact is Fact.REFUSED) or text.startswith("4.7.1")
    assert not (refusal.is_permanent and fact in {Fact.DEFERRED, Fact.RATE_LIMITED})


@pytest.mark.parametrize(
    "text",
    [
        "550 5.7.1 <x@sink.test>... Relaying denied",
        "554 5.7.1 <x@sink.test>: Relay access denied",
        "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
        "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
        "550 I cannot deliver mail for <x@sink.test>",
        "550 Unrouteable address",
        "550 5.1.2 domain not hosted here",
        "551 not our customer",
        "550 not a local user",
        "550 this host is no gateway",
        "550 5.1.1 User unknown",
        "550 Invalid recipient: <x@sink.test>",
        "550 no such user here",
    ],
)
def test_words_of_relaying(text):
    assert speaks_of_relaying(reply(text))


@pytest.mark.parametrize(
    "text",
    [
        "554 5.7.1 Service unavailable; Client host [203.0.113.9] blocked using bl.example.test",
        "550 <relay@sink.test> no",
        "550 relay.example.test says no",
        "550 No",
    ],
)
def test_other_words(text):
    assert not speaks_of_relaying(reply(text))


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("550 5.7.1 Authentication required", True),
        ("550 please log in", True),
        ("553 sorry, your envelope needs a password", True),
        ("550 unauthenticated", False),
        ("550 <auth@sink.test> no", False),
        ("550 auth.example.test no", False),
    ],
)
def test_words_of_login(text, asks):
    assert asks == speaks_of_login(reply(text))


@pytest.mark.parametrize(
    ("text", "greylists"),
    [
        (
            "450 4.2.0 <x@sink.test>: Recipient address rejected: Greylisted, see http://postgrey.example.test/",
            True,
        ),
        ("451 4.7.1 Greylisting in action, please come back later", True),
        ("451 graylist", True),
        ("450 try again in 300 seconds", True),
        ("451 not yet authorized to deliver mail", True),
        ("451 4.3.0 Temporary lookup failure", False),
        ("550 Greylisted for ever", False),
        ("450 <greylist@sink.test> mailbox busy", False),
    ],
)
def test_greylists(text, greylists):
    assert greylists == is_greylisting(reply(text))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("450 4.2.0 Greylisted, try again in 300 seconds", 300.0),
        ("451 try again in 5 minutes", 300.0),
        ("451 try again in 1 minute", 60.0),
        ("451 4.7.1 Greylisted for 00:05:00", 300.0),
        ("451 wait 01:00:30", 3630.0),
        ("451 wait 90s", 90.0),
        ("451 wait 2 min", 120.0),
        ("451 wait 2 mins", 120.0),
        ("451 wait 1 sec", 1.0),
        ("451 wait 4m", 240.0),
        ("450 4.2.0 Greylisted", None),
        ("450 4.2.0 try again later, 3 more messages", None),
        ("450 <5m@sink.test> later", None),
        ("450 [192.0.2.30 s] later", None),
        ("451 about 300", None),
    ],
)
def test_waiting_times(text, seconds):
    assert seconds == read_waiting_time(reply(text))


@given(text=st.text(st.characters(blacklist_categories=["Cs"]), max_size=80))
def test_a_waiting_time_is_no_less_than_nothing(text):
    seconds = read_waiting_time(Reply(450, (text,)))

    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("452 too many recipients", True),
        ("452 4.5.3 Too many recipients", True),
        ("452 4.3.1 Insufficient system storage", False),
        ("552 5.5.3 too many recipients", False),
        ("451 4.5.3 too many recipients", False),
    ],
)
def test_transactions_that_take_no_more(text, full):
    """RFC 5321 section 4.5.3.1.10."""
    assert full == is_full(reply(text))


def test_replies_in_the_same_words():
    one, other = reply("550 <a@x.test> blocked"), reply("550 <Postmaster> blocked")

    assert in_same_words(one, other)
    assert not in_same_words(one, reply("551 <Postmaster> blocked"))
    assert not in_same_words(one, reply("550 <Postmaster> unknown"))
    assert in_same_words(one, reply("550 [192.0.2.7] blocked"))


@pytest.mark.parametrize(
    "octets",
    [
        b"SSH-2.0-OpenSSH_9.2p1", b"HTTP/1.1 400 Bad Request", b"* OK IMAP4 ready", b"* BYE no",
        b"+OK POP3 ready", b"<?xml version='1.0'?>", b"<!DOCTYPE html>", b"<html>", b"RFB 003.008",
        b"\x15\x03\x01\x00\x02\x02\x46", b"\x16\x03\x03",
    ],
)  # fmt: skip
def test_other_protocols(octets):
    assert is_another_protocol(octets)


@pytest.mark.parametrize("octets", [b"", b"220 mail", b"Hello", b" SSH-", b"\x00\x15\x03", b"* NO"])
def test_what_may_be_anything(octets):
    assert not is_another_protocol(octets)


@pytest.mark.parametrize(
    ("text", "ftp"),
    [
        ("220 (vsFTPd 3.0.3)", True),
        ("220 ProFTPD Server (Debian)", True),
        ("220-FileZilla Server 1.8.0\n220 Please visit", True),
        ("220 Microsoft FTP Service", True),
        ("220 ftp.example.test ESMTP Postfix", False),
        ("220 mail.example.test ESMTP", False),
        ("220 sftponly", False),
    ],
)
def test_ftp(text, ftp):
    assert ftp == is_ftp(reply(text))
