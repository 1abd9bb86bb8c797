import io
from dataclasses import replace

import pytest
from tests.cli.samples import (
    COMMAND,
    arrival,
    attempt,
    door,
    finding,
    inconclusive_line,
    line,
    open_entry,
    open_line,
)

from relaywatch.advice.catalogue import load_catalogue
from relaywatch.cli.language import words_in
from relaywatch.cli.reports.entry import Entry
from relaywatch.cli.reports.layout import console_for
from relaywatch.cli.reports.phrases import MARKS, PROOFS, REASONS, VERDICTS
from relaywatch.cli.reports.text import print_text
from relaywatch.model.evidence import ArrivalKind, Weakness
from relaywatch.model.verdicts import Proof, Reason, Vantage, Verdict


def printed(entry, language="en", *, terminal=False, transcript=False):
    file = io.StringIO()
    console = console_for(file, force_terminal=terminal)
    print_text(console, entry, load_catalogue(), words_in(language), with_transcript=transcript)
    return file.getvalue()


def test_everything_has_words():
    assert set(Verdict) == set(MARKS) == set(VERDICTS)
    assert set(Reason) == set(REASONS)
    assert set(Proof) == set(PROOFS)
    assert len(set(MARKS.values())) == len(Verdict)


def test_an_open_relay_is_told_with_its_proof():
    text = printed(open_entry())

    assert text.startswith(
        "● OPEN  192.0.2.7 (mail.example.org) relays mail for strangers: our own message arrived.\n"
    )
    for said in (
        "RW-1001  Relays for anybody",
        f"We sent: {COMMAND}",
        "Sent at: 2026-11-24T02:10:01+00:00",
        "It came out from: 192.0.2.7",
        "Arrived at: 2026-11-24T02:10:05+00:00, from 192.0.2.7:41234",
        "swaks --server 192.0.2.7 --port 25",
        "mynetworks = 127.0.0.0/8",
        "relaywatch check 192.0.2.7 --port 25",
        "fail2ban-client set JAIL addignoreip 203.0.113.5",
    ):
        assert said in text


def test_what_the_server_said_does_nothing_but_stand_there():
    for terminal in (False, True):
        text = printed(open_entry(), terminal=terminal, transcript=True)

        assert "\x1b]0;" not in text
        assert "\x1b[2J" not in text
        assert "\u202e" not in text
        assert "[red]bold[/red]" in text
        assert r"\x1b]0;owned\x07" in text


def test_commands_are_never_broken():
    wanted = "swaks --server 192.0.2.7 --port 25 --ehlo checker.test --from back@sink.test --to "

    assert any(wanted in one for one in printed(open_entry(), terminal=True).split("\n"))


def test_from_inside_nothing_is_said_of_strangers():
    text = printed(Entry(open_line(target="127.0.0.1", name=None, vantage=Vantage.INSIDE)))

    assert text.startswith("● OPEN  127.0.0.1 relays for this machine; strangers not tested.\n")
    assert "run it on a machine that the server does not trust" in text


def test_a_bounce_is_no_arrival_of_the_finding():
    bounced = Entry(open_line(), (), (arrival(kind=ArrivalKind.BOUNCE),))

    assert "Arrived at" not in printed(bounced)


def test_what_could_not_be_told_says_why():
    text = printed(
        Entry(
            inconclusive_line(
                doors=(door(Verdict.INCONCLUSIVE, reasons=(Reason.TLS_FAILED,), notes=("\x1b[1mx",)),)
            )
        )
    )

    for reason in (Reason.GREYLISTED, Reason.TARPIT, Reason.TLS_FAILED):
        assert f"{reason}: {REASONS[reason]}" in text
    assert "(RFC 6647)" in text
    assert r"\x1b[1mx" in text


def test_advisories_beside_the_findings():
    text = printed(
        Entry(line(Verdict.ACCEPTING, advisories=("RW-1030", "RW-9999"), source_address=None, error="\x07"))
    )

    assert "RW-1030  " in text
    assert "relaywatch advice RW-1030" in text
    assert "RW-9999" not in text
    assert r"\x07" in text
    assert "fail2ban" not in text


def test_a_form_that_swaks_cannot_send_is_typed():
    odd = finding(
        advisory="RW-0000",
        case="odd",
        command="EHLO a / MAIL FROM:<> / RCPT TO:b@sink.test",
        exit_address=None,
    )
    text = printed(Entry(open_line(findings=(odd,), software=None)))

    assert (
        "\n    telnet 192.0.2.7 25\n    EHLO a\n    MAIL FROM:<>\n    RCPT TO:b@sink.test\n    QUIT\n" in text
    )
    assert "RW-0000  odd" in text


def test_the_transcript_in_its_notation():
    text = printed(Entry(line(), (attempt(),)), transcript=True)

    assert r"   0.010 S: 220 mail.example.org \x1b[2JESMTP" in text
    assert "   0.020 C: EHLO checker.test\n   0.020 C: MAIL FROM:<back@sink.test>\n" in text
    assert r"   1.600 S: 250 ok <b>\xff\x00" in text


@pytest.mark.parametrize("verdict", Verdict)
def test_korean(verdict):
    text = printed(Entry(line(verdict, reasons=(Reason.TARPIT,))), "ko")

    assert ("다시 점검" in text) is (verdict is not Verdict.ABSENT)
    assert "Check again" not in text


def test_whoever_is_absent_is_not_checked_again_after_a_change():
    text = printed(Entry(line(Verdict.ABSENT)))

    assert "Check again" not in text
    assert "fail2ban" not in text
    assert "Check again" in printed(Entry(line(Verdict.CLOSED)))


def test_what_ran_inside_is_told_in_words_that_fit_both_weaknesses():
    relay = printed(Entry(open_line(vantage=Vantage.INSIDE)))
    proxy = printed(Entry(replace(open_line(vantage=Vantage.INSIDE), weakness=Weakness.OPEN_PROXY)))

    for text in (relay, proxy):
        assert "inside the networks that the server trusts, and that it is meant to serve" in " ".join(
            text.split()
        )
    assert "relaying is meant" not in proxy
