"""What people read of an open proxy and of a chain, in a terminal and as a page."""

from dataclasses import replace

import pytest
from tests.cli.samples import (
    RUDE,
    arrival,
    attempt,
    chain_finding,
    chain_line,
    door,
    proxy_finding,
    proxy_line,
    tunnelled,
)
from tests.cli.test_page import rendered
from tests.cli.test_text import printed

from relaywatch.cli.reports.entry import Entry
from relaywatch.model.evidence import AttemptStatus, Direction, TranscriptEntry
from relaywatch.model.places import Door, Family, Transport
from relaywatch.model.verdicts import Proof, Reason, Vantage, Verdict

CONNECT_OWN = TranscriptEntry(0.0, Direction.NOTE, b"connected from 203.0.113.5:41000 to 192.0.2.7:3128")
REFUSED = TranscriptEntry(0.0, Direction.NOTE, b"nobody listens there")


def text_of(entry, language="en"):
    return printed(entry, language)


def page_of(entry, language="en"):
    return rendered(entry, language=language).words


BOTH = pytest.mark.parametrize("read", [text_of, page_of])


def proxy_entry(**more):
    return Entry(proxy_line(**more), (), (tunnelled(),))


@BOTH
def test_an_open_proxy_is_told_with_its_proof(read):
    told = " ".join(read(proxy_entry()).split())

    for said in (
        "192.0.2.7 (mail.example.org) is an open proxy: our own octets came through it.",
        "Recognised by its words as squid 5.7",
        "RW-2001 HTTP CONNECT tunnels for anybody",
        "canary reached: our own octets came back through it",
        "3128/plain/ipv4 (in the clear), case address-443",
        "CONNECT 203.0.113.5:443 HTTP/1.1",
        "HTTP/1.1 200 Connection established",
        "23, 443, 40025",
        "198.51.100.9, another address than its own",
        "2026-11-24T02:10:06+00:00, from 198.51.100.9:41234",
        "By hand, with a host of yours for YOUR-HOST:",
        "ncat --proxy 192.0.2.7:3128 --proxy-type http YOUR-HOST 40025",
        "relaywatch check 192.0.2.7 --port 3128",
    ):
        assert said in told


@BOTH
def test_what_comes_through_a_tunnel_said_no_helo(read):
    told = read(proxy_entry())

    assert "HELO" not in told
    assert "Arrived with" not in told
    assert "Received" not in told
    assert "swaks" not in told


@BOTH
def test_mail_through_a_chain_did_say_helo(read):
    told = " ".join(read(Entry(chain_line(), (), (arrival(),))).split())

    for said in (
        "192.0.2.7 (mail.example.org) relays mail for strangers: our own message arrived.",
        "RW-2020 Relays for anybody who comes through an open proxy",
        "25/plain/ipv4 via http-connect 3128 to 127.0.0.1 (in the clear), case plain",
        "Arrived with",
        "HELO mail.example.org",
        "By hand: through the proxy, and behind it the dialogue of the transcript.",
        "relaywatch check 192.0.2.7",
    ):
        assert said in told
    assert "swaks --server 192.0.2.7" not in told
    assert "telnet 192.0.2.7" not in told
    assert "relaywatch check 192.0.2.7 --port" not in told


@BOTH
def test_where_it_came_out_and_what_it_let_through_is_told_only_if_known(read):
    told = read(Entry(proxy_line(findings=(proxy_finding(exit_address=None, destination_ports=()),))))

    assert "It came out from" not in told
    assert "It led to our ports" not in told
    assert "Arrived at" not in told


@BOTH
def test_its_own_address_is_no_other(read):
    told = read(Entry(proxy_line(findings=(proxy_finding(exit_address="192.0.2.7"),))))

    assert "It came out from" in told
    assert "another address" not in told


@BOTH
def test_what_no_tool_asks_has_no_command(read):
    told = read(Entry(proxy_line(findings=(proxy_finding(probe="ftp-bounce", advisory="RW-2013"),))))

    assert "YOUR-HOST" not in told
    assert "By hand" not in told


@BOTH
def test_many_ports_at_which_nobody_is_take_a_line_each_kind(read):
    nobody = tuple(door(Verdict.ABSENT, port=port) for port in range(8000, 8060))
    silent = door(Verdict.INCONCLUSIVE, port=9050, reasons=(Reason.NO_ANSWER,))
    told = read(Entry(proxy_line(doors=(*nobody, silent, door(Verdict.OPEN, port=3128)))))

    assert 1 == told.count("8059")
    assert "8059/plain/ipv4" not in told
    assert "3128/plain/ipv4" in told
    assert "Silent, as behind a filter: 9050" in told
    assert str(Reason.NO_ANSWER) not in told


@BOTH
def test_a_host_without_any_proxy_has_no_empty_table(read):
    absent = proxy_line(Verdict.ABSENT, doors=(door(Verdict.ABSENT, port=3128),), software=None)
    told = read(Entry(absent))

    assert "no proxy answers there" in told
    assert "No proxy answers at: 3128" in told
    assert "Cases" not in told


def test_the_page_of_a_host_without_any_proxy_has_one_table():
    absent = proxy_line(Verdict.ABSENT, doors=(door(Verdict.ABSENT, port=3128),))

    assert 1 == rendered(Entry(absent)).tags.count("table")


@BOTH
def test_an_advisory_of_two_doors_is_explained_once(read):
    two = (
        proxy_finding(),
        proxy_finding(port=8080),
        proxy_finding(advisory="RW-2005", probe="http-forward", port=8080),
    )
    told = read(Entry(proxy_line(findings=two)))

    assert 2 == told.count("HTTP CONNECT tunnels for anybody")
    assert 2 == told.count("How to mend it")
    assert "3128/plain/ipv4 (in the clear)" in told
    assert "8080/plain/ipv4 (in the clear)" in told
    assert 2 == told.count("ncat --proxy")


@BOTH
def test_a_deceptive_one_is_not_called_open(read):
    says_yes = proxy_line(
        Verdict.ACCEPTING,
        findings=(proxy_finding(proof=Proof.ACCEPTED, exit_address=None),),
        reasons=(Reason.DECEPTIVE, Reason.NOT_REACHED),
        advisories=("RW-2030",),
    )
    told = " ".join(read(Entry(says_yes)).split())

    assert "says yes to proxying; that it does is not proven" in told
    assert "a honeypot, a sinkhole or a captive portal" in told
    assert "accepted: it said yes, and we stopped there" in told
    assert "open proxy: our own" not in told


@BOTH
def test_from_inside_nothing_is_said_of_strangers(read):
    told = read(Entry(proxy_line(target="127.0.0.1", name=None, vantage=Vantage.INSIDE)))

    assert "127.0.0.1 is a proxy for this machine; strangers not tested." in told
    assert "run it on a machine that the server does not trust" in told


@BOTH
def test_what_a_proxy_said_is_text(read):
    told = read(Entry(proxy_line(findings=(proxy_finding(reply=RUDE, command=RUDE),))))

    assert "\x1b" not in told
    assert "\u202e" not in told
    assert r"\x1b]0;owned\x07" in told


@BOTH
@pytest.mark.parametrize("verdict", Verdict)
def test_korean(read, verdict):
    told = read(Entry(proxy_line(verdict, reasons=(Reason.DECEPTIVE,))), "ko")

    assert "프록시" in told
    assert "proxy answers" not in told
    assert "It led to our ports" not in told
    assert "another address" not in told


def test_the_page_leaves_out_dialogues_in_which_nobody_took_the_connection():
    refused = replace(attempt(), probe="recognition", status=AttemptStatus.NO_LISTENER, transcript=(REFUSED,))
    silent = replace(attempt(), probe="silent-one", status=AttemptStatus.TIMEOUT, transcript=(CONNECT_OWN,))
    unsaid = replace(attempt(), probe="unsaid-one", transcript=())
    behind = Door(25, Transport.PLAIN, Family.IPV4, via="http-connect", through="3128 to 127.0.0.1")
    chained = replace(attempt(), door=behind, status=AttemptStatus.NO_LISTENER)
    entry = Entry(proxy_line(), (refused, silent, unsaid, chained))

    assert (silent, chained) == entry.dialogues()
    page = rendered(entry)
    assert "Transcript: recognition" not in page.words
    assert "Transcript: silent-one 192.0.2.7:25 plain" in page.words
    assert "Transcript: smtp-relay 192.0.2.7:25 plain via http-connect 3128 to 127.0.0.1" in page.words


def test_both_legs_of_a_chain_stand_in_its_transcript():
    behind = Door(25, Transport.PLAIN, Family.IPV4, via="http-connect", through="3128 to 127.0.0.1")
    said = (
        TranscriptEntry(0.1, Direction.CLIENT, b"CONNECT 127.0.0.1:25 HTTP/1.1\r\n\r\n"),
        TranscriptEntry(0.2, Direction.SERVER, b"HTTP/1.1 200 Connection established\r\n\r\n"),
        TranscriptEntry(0.3, Direction.SERVER, b"220 mail.example.org ESMTP\r\n"),
    )
    chained = replace(attempt(), door=behind, transcript=said)
    told = printed(Entry(chain_line(findings=(chain_finding(),)), (chained,)), transcript=True)

    assert "--- smtp-relay 192.0.2.7:25 plain via http-connect 3128 to 127.0.0.1, completed\n" in told
    assert "   0.100 C: CONNECT 127.0.0.1:25 HTTP/1.1\n" in told
    assert "   0.300 S: 220 mail.example.org ESMTP\n" in told
