"""What is told while a run goes on: of many ports, those that speak; of canaries, what can't be reached."""

import io
from dataclasses import replace

import pytest
from tests.cli.samples import attempt, line, proxy_line

from relaywatch.cli.exit_codes import Tally
from relaywatch.cli.language import words_in
from relaywatch.cli.reports.layout import console_for
from relaywatch.cli.watching import HostLines, Watcher
from relaywatch.model.evidence import AttemptStatus, Fact, Observation
from relaywatch.model.places import Door, Family, Transport
from relaywatch.model.verdicts import Verdict
from relaywatch.runs.reporting import EventKind, RunEvent

DOOR = Door(1080, Transport.PLAIN, Family.IPV4)
BEHIND = Door(25, Transport.PLAIN, Family.IPV4, via="http-connect", through="3128 to 127.0.0.1")


def ended(probe, *seen, status=AttemptStatus.COMPLETED, door=DOOR):
    said = replace(attempt(), probe=probe, door=door, status=status, observations=seen)
    return RunEvent(kind=EventKind.ATTEMPT_ENDED, target="192.0.2.7", door=door, attempt=said)


def speaks(detail):
    return Observation(fact=Fact.SPEAKS, detail=detail)


def told(event, kind=Watcher, language="en"):
    file = io.StringIO()
    tally = Tally()
    kind(console_for(file), words_in(language), tally).see(event)
    return file.getvalue()


def test_a_port_that_speaks_is_told_with_what_it_speaks():
    event = ended("recognition", speaks("http"), speaks("socks5"))

    assert "192.0.2.7 1080/plain/ipv4: speaks http, socks5\n" == told(event)
    assert "192.0.2.7 1080/plain/ipv4" in told(event, language="ko")
    assert "speaks" not in told(event, language="ko")


@pytest.mark.parametrize("status", [AttemptStatus.NO_LISTENER, AttemptStatus.COMPLETED])
def test_a_port_that_says_nothing_is_not_worth_a_line(status):
    assert "" == told(ended("recognition", status=status))


def test_a_canary_that_was_reached_counts_as_a_yes():
    event = ended(
        "socks4",
        Observation(fact=Fact.CANARY_REACHED, case="address-443"),
        Observation(fact=Fact.ACCEPTED, case="address-80"),
        Observation(fact=Fact.REFUSED, case="address-25"),
    )

    assert "192.0.2.7 1080/plain/ipv4: completed; refused: 1, accepted: 2\n" == told(event)


def test_a_chain_is_told_by_its_way():
    assert "192.0.2.7 25/plain/ipv4 via http-connect at 3128 to 127.0.0.1: no-listener;" in told(
        ended("smtp-relay", status=AttemptStatus.NO_LISTENER, door=BEHIND)
    )


@pytest.mark.parametrize("kind", [Watcher, HostLines])
def test_canaries_that_cannot_be_reached_are_told(kind):
    event = RunEvent(kind=EventKind.CANARIES_UNPROVED, detail="no answer at 443\x1b[2J")
    said = told(event, kind)

    assert "Proxies can be led to our canaries in part or not at all: no answer at 443\\x1b[2J\n" == said
    assert "443" in told(event, kind, "ko")
    assert "Proxies" not in told(event, kind, "ko")


def test_of_many_hosts_no_door_is_told():
    assert "" == told(ended("recognition", speaks("http")), HostLines)
    assert "" == told(RunEvent(kind=EventKind.ATTEMPT_BEGAN, target="192.0.2.7", door=DOOR), HostLines)


def test_of_many_hosts_those_with_something_are_told():
    file, tally = io.StringIO(), Tally()
    watcher = HostLines(console_for(file), words_in("en"), tally)
    for one in (line(), proxy_line(), proxy_line(Verdict.ABSENT, target="192.0.2.8")):
        watcher.took(one)

    assert [
        "○ CLOSED  192.0.2.7 (mail.example.org) does not relay: whatever was asked was refused.",
        "● OPEN  192.0.2.7 (mail.example.org) is an open proxy: our own octets came through it.",
    ] == file.getvalue().splitlines()
    assert 3 == tally.lines


@pytest.mark.parametrize("kind", [Watcher, HostLines])
def test_a_second_source_that_is_none_is_told(kind):
    event = RunEvent(kind=EventKind.SECOND_SOURCE_UNUSED, detail="203.0.113.6")

    assert "--second-source 203.0.113.6 isn't used: connections come from it anyway.\n" == told(event, kind)
    assert "203.0.113.6" in told(event, kind, "ko")
    assert "connections" not in told(event, kind, "ko")
